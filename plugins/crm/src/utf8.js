// UTF-8, which QuickJS has no `TextEncoder` for.

/** Text to bytes. */
export function encode(text) {
  const escaped = encodeURIComponent(text).replace(/%([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return Uint8Array.from(escaped, (byte) => byte.charCodeAt(0));
}

/** Bytes to text; a byte that is not UTF-8 makes all of them Latin-1, so that nothing is thrown. */
export function decode(bytes) {
  const units = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  const escaped = units.replace(/[^\0-$&-\x7f]/g, (unit) => `%${unit.charCodeAt(0).toString(16).padStart(2, "0")}`);
  try {
    return decodeURIComponent(escaped);
  } catch {
    return units;
  }
}
