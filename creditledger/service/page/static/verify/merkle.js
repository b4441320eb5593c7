// The tree of a log, of a batch and of a reveal: specs/log.md §2 and §3.
import { sha256 } from "./digest.js";
import { equal, hex } from "./octets.js";
import { need } from "./refusal.js";

export const leafHash = (entry) => sha256([0], entry);

export const nodeHash = (left, right) => sha256([1], left, right);

const bitLength = (number) => (number === 0n ? 0 : number.toString(2).length);

const ones = (number) => number.toString(2).replaceAll("0", "").length;

/** Refuses a leaf hash that is not number `index` of the tree of `size` with that root. */
export const verifyInclusion = async (leaf, index, size, root, path) => {
  need(index < size, "it lies beyond the tree", `an index below ${size}`, `${index}`);
  const inner = bitLength(index ^ (size - 1n));
  const wanted = inner + ones(index >> BigInt(inner));
  need(path.length === wanted, "its path has another length", `${wanted} hashes`, `${path.length}`);
  let carried = leaf;
  for (const [level, sibling] of path.entries()) {
    const isRight = level >= inner || ((index >> BigInt(level)) & 1n) === 1n;
    carried = isRight ? await nodeHash(sibling, carried) : await nodeHash(carried, sibling);
  }
  need(equal(carried, root), "its path leads to another root", hex(root), hex(carried));
};
