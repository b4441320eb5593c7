// Ed25519 by the browser, with the keys refused that anybody can sign for: specs/log.md §1.
import { subtle } from "./digest.js";
import { hex, toNumber } from "./octets.js";
import { need, Unable } from "./refusal.js";

const P = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const SIGN_BIT = 1n << 255n;

const power = (base, exponent) => {
  let result = 1n;
  for (let factor = ((base % P) + P) % P; exponent > 0n; exponent >>= 1n, factor = (factor * factor) % P) {
    if (exponent & 1n) result = (result * factor) % P;
  }
  return result;
};

const D = ((P - 121_665n) * power(121_666n, P - 2n)) % P;

const littleEndian = (bytes) => toNumber(bytes.slice().reverse());

/** Refuses bytes that are no point, a point spelt otherwise, and points of order 1, 2, 4 and 8. */
export const requireKey = (key) => {
  need(key.length === 32, "a public key has another length", "32 bytes", `${key.length} bytes`);
  const y = littleEndian(key) & (SIGN_BIT - 1n);
  need(y < P, "a public key is not in its own spelling", "y below 2^255-19", hex(key));
  const square = (y * y) % P;
  const isLowOrder = (y * (square - 1n) * (D * square * square + 2n * square - 1n)) % P === 0n;
  need(!isLowOrder, "anybody can sign for this public key", "a point of large order", hex(key));
  const hasPoint = power((square - 1n) * (D * square + 1n), (P - 1n) / 2n) === 1n;
  need(hasPoint, "a public key is no point of the curve", "a point", hex(key));
};

// Browsers are to refuse these, too: that they do is not left to them.
const isSpelt = (signature) => {
  const point = littleEndian(signature.subarray(0, 32));
  const y = point & (SIGN_BIT - 1n);
  const isSigned = point >= SIGN_BIT;
  return y < P && !(isSigned && (y === 1n || y === P - 1n)) && littleEndian(signature.subarray(32)) < ORDER;
};

/** Refuses a signature that is not of `message` by `key`. */
export const verifySignature = async (key, message, signature) => {
  requireKey(key);
  need(signature.length === 64, "a signature has another length", "64 bytes", `${signature.length} bytes`);
  const holds = isSpelt(signature) && (await isSignature(key, message, signature));
  need(holds, "a signature does not hold", `one by the key ${hex(key)}`, hex(signature));
};

const isSignature = async (key, message, signature) => {
  try {
    const imported = await subtle().importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
    return await subtle().verify({ name: "Ed25519" }, imported, signature, message);
  } catch (error) {
    if (error instanceof Unable) throw error;
    throw new Unable(`this browser does not check Ed25519 signatures (${error.name}): a newer one does`);
  }
};
