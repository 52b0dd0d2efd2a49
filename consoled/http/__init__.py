"""A hardened HTTP/1.1 listener under the API and the proxy: bounds, TLS, request ids."""
