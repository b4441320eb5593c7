// What the lines of a checkpoint sign, and when: specs/log.md §6 and §8.
import { verifySignature } from "./ed25519.js";
import { concat, toNumber } from "./octets.js";
import { need } from "./refusal.js";
import { encodeText } from "./utf8.js";
import { COSIGNATURE, ED25519 } from "./verifier_key.js";

const ML_DSA_SIGNATURE_BYTES = 2_420;

/** When the key signed (Unix seconds; 0 for a log), and whether a browser can tell that it did. */
export const verifyLine = async (key, text, body) => {
  if (key.type === ED25519) {
    await verifySignature(key.publicKey, text, body);
    return { time: 0n, isVerified: true };
  }
  const size = key.type === COSIGNATURE ? 64 : ML_DSA_SIGNATURE_BYTES;
  need(
    body.length === 8 + size,
    "a cosignature has another length",
    `${8 + size} bytes`,
    `${body.length} bytes`,
  );
  const time = toNumber(body.subarray(0, 8));
  need(time >= 1n && time < 2n ** 63n, "a cosignature's time is out of range", "1 to 2^63-1", `${time}`);
  // No browser has ML-DSA: whoever has the command has it.
  if (key.type !== COSIGNATURE) return { time, isVerified: false };
  const said = concat(encodeText(`cosignature/v1\ntime ${time}\n`), text);
  await verifySignature(key.publicKey, said, body.subarray(8));
  return { time, isVerified: true };
};
