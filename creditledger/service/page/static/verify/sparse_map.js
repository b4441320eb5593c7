// What a round's map says, and what it does not: specs/log.md §5.
import { sha256 } from "./digest.js";
import { nodeHash } from "./merkle.js";
import { equal, hex, isZero, toNumber } from "./octets.js";
import { need } from "./refusal.js";

const DEPTH_MAX = 256;
const NOTHING = new Uint8Array(32);

const bitOf = (path, depth) => (path[depth >> 3] >> (7 - (depth & 7))) & 1;

/** The parts of a proof. Refuses what no map gives. */
const readProof = (proof, isPresent) => {
  need(proof.length >= 3, "a map's proof is cut short", "a kind and a depth", hex(proof));
  const [kind] = proof;
  const depth = Number(toNumber(proof.subarray(1, 3)));
  const kinds = isPresent ? [0] : [1, 2];
  need(kinds.includes(kind), "a map's proof is of the other kind", kinds.join(" or "), `${kind}`);
  need(depth <= DEPTH_MAX, "a map's proof is too deep", `at most ${DEPTH_MAX}`, `${depth}`);
  const start = 3 + Math.ceil(depth / 8);
  const bitmap = proof.subarray(3, start);
  const isSet = (level) => ((bitmap[level >> 3] >> (level & 7)) & 1) === 1;
  const levels = Array.from({ length: 8 * bitmap.length }, (_, level) => level);
  const isPlain = bitmap.length === start - 3 && levels.every((level) => level < depth || !isSet(level));
  need(
    isPlain && (depth === 0 || isSet(0)),
    "a map's proof has other bits than siblings",
    `${depth} bits`,
    hex(bitmap),
  );
  const other = kind === 2 ? proof.subarray(start, start + 64) : null;
  let at = start + (kind === 2 ? 64 : 0);
  const siblings = levels.slice(0, depth).map((level) => {
    if (!isSet(level)) return NOTHING;
    at += 32;
    return proof.subarray(at - 32, at);
  });
  need(at === proof.length, "a map's proof has another length", `${at} bytes`, `${proof.length} bytes`);
  need(
    siblings.every((sibling, level) => !isSet(level) || !isZero(sibling)),
    "a map's proof spells out an empty sibling",
    "a bit that is 0",
    "zeros",
  );
  return { siblings, other };
};

const requireOther = (other, path, depth) => {
  const isUnder = Array.from({ length: depth }, (_, at) => at).every(
    (at) => bitOf(other, at) === bitOf(path, at),
  );
  need(
    isUnder && !equal(other, path),
    "another leaf does not stand in the key's place",
    hex(path),
    hex(other),
  );
};

/** Refuses unless `value` stands under `key`, or, where it is null, nothing does. */
export const verifyMap = async (root, key, value, proof) => {
  const path = await sha256(key);
  const { siblings, other } = readProof(proof, value !== null);
  const depth = siblings.length;
  if (other !== null) requireOther(other.subarray(0, 32), path, depth);
  let carried = NOTHING;
  if (value !== null) carried = await sha256([0], path, await sha256(value));
  if (other !== null) carried = await sha256([0], other);
  for (const [level, sibling] of siblings.entries()) {
    const isRight = bitOf(path, depth - 1 - level) === 1;
    carried = isRight ? await nodeHash(sibling, carried) : await nodeHash(carried, sibling);
  }
  need(equal(carried, root), "a map's proof leads to another root", hex(root), hex(carried));
};
