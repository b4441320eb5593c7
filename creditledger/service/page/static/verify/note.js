// Signed notes: a text, and lines that sign it: specs/log.md §6.
import { decodeBase64 } from "./base64.js";
import { hex } from "./octets.js";
import { need } from "./refusal.js";
import { decodeText, encodeText } from "./utf8.js";
import { isKeyName } from "./verifier_key.js";

const BYTES_MAX = 1_000_000;
const LINES_MAX = 100;

/** The text's bytes, and of each line `name`, `id`, `body` and the line's own `bytes`. Nothing is verified. */
export const parseNote = (encoded) => {
  need(
    encoded.length <= BYTES_MAX,
    "a note is too long",
    `at most ${BYTES_MAX} bytes`,
    `${encoded.length} bytes`,
  );
  const isPlain = encoded.every((byte) => byte >= 0x20 || byte === 0x0a);
  need(isPlain, "a note has control characters", "none but line feeds", "others");
  const note = decodeText(encoded);
  const cut = note.lastIndexOf("\n\n");
  need(cut >= 0 && note.endsWith("\n"), "it is no note", "a text, an empty line, lines", "no such thing");
  const lines = note
    .slice(cut + 2)
    .split("\n")
    .slice(0, -1);
  need(
    lines.length >= 1 && lines.length <= LINES_MAX,
    "a note has another number of lines",
    `1 to ${LINES_MAX}`,
    `${lines.length}`,
  );
  return { text: encodeText(note.slice(0, cut + 1)), lines: lines.map(parseLine) };
};

const parseLine = (line) => {
  const [dash, name, ...rest] = line.split(" ");
  need(
    dash === "\u2014" && rest.length === 1 && isKeyName(name),
    "it is no signature line",
    "a dash, a name, base64",
    line.slice(0, 40),
  );
  const raw = decodeBase64(rest[0]);
  need(raw.length > 4, "a signature line is cut short", "a key id and a body", `${raw.length} bytes`);
  return { name, id: hex(raw.subarray(0, 4)), body: raw.subarray(4), bytes: encodeText(line) };
};
