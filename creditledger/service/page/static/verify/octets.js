// Byte strings: put together, compared, written down.

export const ascii = (text) => Uint8Array.from(text, (char) => char.charCodeAt(0));

export const concat = (...parts) => {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
};

/** Below 0, 0 or above 0, as the first byte that differs says; a beginning comes before what it begins. */
export const compare = (left, right) => {
  const shared = Math.min(left.length, right.length);
  for (let at = 0; at < shared; at += 1) {
    if (left[at] !== right[at]) return left[at] - right[at];
  }
  return left.length - right.length;
};

export const equal = (left, right) => left.length === right.length && compare(left, right) === 0;

export const isZero = (bytes) => bytes.every((byte) => byte === 0);

/** Each is below the next. */
export const isAscending = (all) => all.every((one, at) => at === 0 || compare(all[at - 1], one) < 0);

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The bytes that lower-case hex spells; null for anything else. */
export const fromHex = (text) => {
  if (!/^(?:[0-9a-f]{2})*$/.test(text)) return null;
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
};

/** Big-endian, as a BigInt. */
export const toNumber = (bytes) => bytes.reduce((number, byte) => (number << 8n) | BigInt(byte), 0n);

/** `number`, a BigInt, in `width` bytes, big-endian. */
export const fromNumber = (number, width) => {
  const bytes = new Uint8Array(width);
  for (let at = width - 1; at >= 0; at -= 1) {
    bytes[at] = Number(number & 255n);
    number >>= 8n;
  }
  return bytes;
};
