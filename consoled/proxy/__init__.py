"""The console proxy: the page, WebSocket, sessions and lines."""
