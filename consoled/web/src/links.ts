/** Which addresses in the guest's output may be opened at all. */

/**
 * The address in its normal form (a host in Punycode, so that lookalikes show), or null unless
 * it is http or https.
 *
 * @param text what the guest wrote, in plain or in an OSC 8 sequence.
 */
export function allowedLink(text: string): URL | null {
  if (text.length > 2048) return null;
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url : null;
  } catch {
    return null;
  }
}
