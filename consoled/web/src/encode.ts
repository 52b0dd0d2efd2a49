/** Input on its way to the wire. */

const utf8 = new TextEncoder();

/** Typed or pasted text as the wire carries it: UTF-8. */
export function encodeText(text: string): Uint8Array<ArrayBuffer> {
  return utf8.encode(text);
}

/** xterm's binary reports (old mouse modes): each character is one byte. */
export function encodeBinary(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (char) => char.charCodeAt(0) & 0xff);
}

/**
 * Text from the clipboard without ESC: otherwise a crafted text could end bracketed paste by
 * itself and have the rest run as if typed.
 */
export function cleanPaste(text: string): string {
  return text.replace(/[\x1b\x9b]/g, "");
}
