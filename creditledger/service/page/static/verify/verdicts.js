// The verdicts that a receipt's state rests on, as far as a browser can look: specs/bundle.md §3.
import { leafHash, verifyInclusion } from "./merkle.js";
import { equal, hex } from "./octets.js";
import { decodeRecord } from "./record.js";
import { need } from "./refusal.js";

export const OUTCOMES = { 0: "unchecked", 1: "upheld", 2: "refuted", 3: "inconclusive" };

/** Refuses verdicts on which the state of the receipt cannot rest. Who signed them is left open. */
export const readVerdicts = async (bundle, state, committee) => {
  const isJudged = state.outcome === 1n || state.outcome === 2n || (state.outcome === 3n && state.due > 0n);
  need(
    bundle.verdicts.length > 0 === isJudged,
    "the verdicts are not those of the outcome",
    isJudged ? "at least one" : "none",
    `${bundle.verdicts.length}`,
  );
  const members = [];
  for (const shown of bundle.verdicts) members.push(await readVerdict(shown, state));
  const isOrdered = members.every((member, at) => at === 0 || members[at - 1] < member);
  need(isOrdered, "verdicts are out of order", "ascending members, each once", members.join(", "));
  const stranger = members.find((member) => member >= BigInt(committee.size));
  need(
    stranger === undefined,
    "a verdict is by nobody on the committee",
    `a member below ${committee.size}`,
    `${stranger}`,
  );
  return members;
};

const readVerdict = async (shown, state) => {
  const verdict = decodeRecord(shown.verdict, "verdict");
  const reveal = decodeRecord(shown.reveal.record, "reveal");
  const isOfReveal = verdict.round === reveal.round && verdict.member === reveal.member;
  need(
    isOfReveal,
    "a verdict is of another member or round",
    `member ${reveal.member}, round ${reveal.round}`,
    `member ${verdict.member}, round ${verdict.round}`,
  );
  await verifyInclusion(
    await leafHash(shown.verdict),
    shown.leaf.index,
    reveal.count,
    reveal.root,
    shown.leaf.path,
  );
  need(
    equal(verdict.receipt, state.receipt),
    "a verdict is of another receipt",
    hex(state.receipt),
    hex(verdict.receipt),
  );
  need(
    verdict.outcome === state.outcome,
    "a verdict says otherwise than the state",
    OUTCOMES[state.outcome],
    OUTCOMES[verdict.outcome],
  );
  need(
    verdict.round >= state.round,
    "a verdict is of a round before the receipt's",
    `at least ${state.round}`,
    `${verdict.round}`,
  );
  return verdict.member;
};
