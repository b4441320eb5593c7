// One value, one encoding: specs/records.md §1. Integers are BigInt, byte strings Uint8Array.
import { concat, fromNumber, toNumber } from "./octets.js";
import { need } from "./refusal.js";

export const BYTES_MAX = 65_535;
const DEPTH_MAX = 8;
const UNSIGNED_MAX = 2n ** 63n - 1n;
/** Of byte strings by their first byte: how wide their length is, and the least that is so wide. */
const LENGTHS = { 0xc4: [1, 0], 0xc5: [2, 256], 0xc6: [4, 65_536] };

/** The value that these bytes spell. Refuses bytes that `encode` would not have written. */
export const decode = (encoded) => {
  need(
    encoded.length <= BYTES_MAX,
    "it is too long",
    `at most ${BYTES_MAX} bytes`,
    `${encoded.length} bytes`,
  );
  const scan = new Scan(encoded);
  const value = scan.value(1);
  need(
    scan.at === encoded.length,
    "something follows the value",
    "its end",
    `${encoded.length - scan.at} bytes`,
  );
  return value;
};

class Scan {
  constructor(encoded) {
    this.encoded = encoded;
    this.at = 0;
  }

  take(count) {
    need(
      count <= this.encoded.length - this.at,
      "it is cut short",
      `${count} more bytes`,
      `${this.encoded.length - this.at}`,
    );
    this.at += count;
    return this.encoded.slice(this.at - count, this.at);
  }

  value(depth) {
    const [head] = this.take(1);
    if (head < 0x80) return BigInt(head);
    if (head >= 0xcc && head <= 0xcf) return this.integer(head - 0xcc);
    if (head in LENGTHS) return this.take(this.length(...LENGTHS[head]));
    need(
      (head >= 0x90 && head <= 0x9f) || head === 0xdc,
      "a value is of a foreign type",
      "integer, bytes or array",
      `0x${head.toString(16)}`,
    );
    need(depth <= DEPTH_MAX, "arrays are nested too deep", `depth ${DEPTH_MAX}`, "a deeper one");
    const count = head === 0xdc ? this.length(2, 16) : head & 15;
    // Nothing is built for what a head promises: each item must be there.
    const items = [];
    for (let item = 0; item < count; item += 1) items.push(this.value(depth + 1));
    return items;
  }

  integer(power) {
    const number = toNumber(this.take(2 ** power));
    const least = power === 0 ? 128n : 1n << BigInt(8 * 2 ** (power - 1));
    need(
      number >= least && number <= UNSIGNED_MAX,
      "an integer is not in its shortest form",
      "the shortest, below 2^63",
      `${number}`,
    );
    return number;
  }

  length(width, least) {
    const length = Number(toNumber(this.take(width)));
    need(length >= least, "a length is not in its shortest form", `at least ${least}`, `${length}`);
    return length;
  }
}

const shortest = (first, number) => {
  const power = [0, 1, 2, 3].find((one) => number < 1n << BigInt(8 * 2 ** one));
  return concat([first + power], fromNumber(number, 2 ** power));
};

/** The bytes of a value. */
export const encode = (value) => {
  if (value instanceof Uint8Array) return concat(shortest(0xc4, BigInt(value.length)), value);
  if (Array.isArray(value)) {
    const count = value.length;
    const head = count < 16 ? [0x90 + count] : [0xdc, count >> 8, count & 255];
    return concat(head, ...value.map(encode));
  }
  return value < 128n ? Uint8Array.of(Number(value)) : shortest(0xcc, value);
};
