// Named public keys of logs and witnesses: specs/log.md §6.
import { decodeBase64 } from "./base64.js";
import { sha256 } from "./digest.js";
import { requireKey } from "./ed25519.js";
import { concat, hex } from "./octets.js";
import { need } from "./refusal.js";
import { decodeText, encodeText } from "./utf8.js";

export const ED25519 = 1;
export const COSIGNATURE = 4;
export const ML_DSA = 6;
const ML_DSA_KEY_BYTES = 1_312;

// White space as Unicode had it when names were laid down; a reader of another year must find the same.
const FORBIDDEN = /[\u0000-\u0020+\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/u;

/** Whether a key may have that name. */
export const isKeyName = (name) => name !== "" && [...name].length <= 256 && !FORBIDDEN.test(name);

/** Which key a line of a note is by, if it is by one of those given. */
export const keyId = async (name, typed) => (await sha256(encodeText(name), [0x0a], typed)).slice(0, 4);

/** The key that `word`, one character for each byte of a policy, spells, of one of these types. */
export const parseVerifierKey = async (word, types) => {
  const [spelt, id, ...rest] = word.split("+");
  need(
    rest.length > 0 && /^[0-9a-f]{8}$/.test(id),
    "not a verifier key",
    "name+8 hex digits+base64",
    word.slice(0, 60),
  );
  const name = decodeText(Uint8Array.from(spelt, (char) => char.charCodeAt(0)));
  const typed = decodeBase64(rest.join("+"));
  const [type, publicKey] = [typed[0], typed.subarray(1)];
  need(isKeyName(name), "not a key's name", "1 to 256 characters, no space, no +", name.slice(0, 40));
  need(types.includes(type), "a key of another type", `type ${types.join(" or ")}`, `${type}`);
  if (type === ML_DSA) {
    need(
      publicKey.length === ML_DSA_KEY_BYTES,
      "an ML-DSA-44 key has another length",
      `${ML_DSA_KEY_BYTES} bytes`,
      `${publicKey.length} bytes`,
    );
  } else {
    requireKey(publicKey);
  }
  const own = await keyId(name, typed);
  need(hex(own) === id, "a key's id is not its own", hex(own), id);
  return { name, type, publicKey, id, text: hex(concat([type], publicKey)) };
};
