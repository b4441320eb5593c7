// The head of a log: specs/log.md §7.
import { decodeBase64 } from "./base64.js";
import { readDecimal } from "./decimal.js";
import { sha256 } from "./digest.js";
import { equal, hex } from "./octets.js";
import { need } from "./refusal.js";
import { decodeText, encodeText } from "./utf8.js";

/** `origin`, `size`, `root` of a note's text. */
export const parseCheckpoint = async (text) => {
  const lines = decodeText(text).split("\n");
  need(lines.length === 4 && lines[3] === "", "it is no checkpoint", "three lines", `${lines.length - 1}`);
  const [origin, size, root] = [lines[0], readDecimal(lines[1]), decodeBase64(lines[2])];
  const bytes = encodeText(origin).length;
  need(bytes >= 1 && bytes <= 255, "a checkpoint's origin has another length", "1 to 255 bytes", `${bytes}`);
  need(root.length === 32, "a checkpoint's root has another length", "32 bytes", `${root.length} bytes`);
  const empty = await sha256();
  need(size > 0n || equal(root, empty), "an empty log has a root of its own", hex(empty), hex(root));
  return { origin, size, root };
};
