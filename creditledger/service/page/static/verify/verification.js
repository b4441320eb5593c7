// One pass over one bundle under a reader's policy, step by step: specs/bundle.md §3, specs/service.md §9.2.
import { Refusal, Unable } from "./refusal.js";
import { stepsOf } from "./steps.js";

export const HOLDS = "holds";
export const FAILS = "fails";
export const UNCHECKED = "unchecked";
export const ABSENT = "absent";
export const SKIPPED = "skipped";

/** Everything in the bundle that a browser can check, in order, until something does not hold.
 *
 *  `policy`: as `parsePolicy` gives it. `asked`: the id of the receipt wanted, or null. `onStep`: told of each step.
 *  `verdict`: `holds` (levels are `proven`), `open` (nothing fails and nothing is proven without what a browser
 *  cannot check), `refused`, `unable` (this browser cannot look). */
export const verifyBundle = async (encoded, policy, { asked = null, nowUnixMs, onStep = () => {} }) => {
  const it = { encoded, policy, asked, nowUnixMs, bundle: null };
  const steps = [];
  let stopped = null;
  const done = new Set();
  for (let next = pending(it, done); next !== undefined; next = pending(it, done)) {
    done.add(next.id);
    const step = stopped === null ? await look(next, it) : told(next, it, { state: SKIPPED });
    if (step.state === FAILS || step.error instanceof Unable) stopped ??= step;
    steps.push(step);
    onStep(step);
  }
  return conclude(it, steps, stopped);
};

const pending = (it, done) => stepsOf(it).find((step) => !done.has(step.id));

const told = (step, it, outcome) => ({
  id: step.id,
  title: step.title(it),
  expected: "",
  found: "",
  ...outcome,
});

const look = async (step, it) => {
  try {
    return told(step, it, await step.look(it));
  } catch (error) {
    if (error instanceof Refusal) {
      return told(step, it, {
        state: FAILS,
        reason: error.message,
        expected: error.expected,
        found: error.found,
      });
    }
    if (error instanceof Unable) return told(step, it, { state: UNCHECKED, reason: error.message, error });
    throw error;
  }
};

const conclude = (it, steps, stopped) => {
  const subject = it.bundle?.subject ?? null;
  if (stopped !== null) {
    return {
      verdict: stopped.state === FAILS ? "refused" : "unable",
      subject,
      steps,
      stopped,
      proven: [],
      claimed: [],
      work: "unchecked",
      it,
    };
  }
  const { levels, isProven } = levelsOf(it);
  const proven = levels.filter((level) => isProven.has(level));
  const claimed = levels.filter((level) => !isProven.has(level));
  return {
    verdict: proven.length > 0 ? "holds" : "open",
    subject,
    steps,
    stopped,
    proven,
    claimed,
    work: it.work ?? "unchecked",
    it,
  };
};

/** The levels of specs/bundle.md §4 that the bundle reaches, and those of them for which no word was taken. */
const levelsOf = (it) => {
  const { bundle, own, lot } = it;
  const hasEntry = bundle.entry.length > 0;
  const isReceipt = bundle.subject === "receipt" && bundle.certified.length > 0;
  const hasPassed = isReceipt && (own.outcome === 1n || (own.outcome === 0n && own.due === 0n));
  const reached = {
    signed: hasEntry,
    logged: hasEntry && bundle.checkpoint.length > 0,
    certified: bundle.certified.length > 0,
    upheld: isReceipt && own.outcome === 1n,
    vested: isReceipt && hasPassed && own.settled > 0n && it.isDelivered && lot !== null && lot.vested > 0n,
  };
  const isProven = new Set();
  if (hasEntry && !it.signedBy.isLater) isProven.add("signed");
  if (isProven.has("signed") && it.isHeadVerified) isProven.add("logged");
  return { levels: Object.keys(reached).filter((level) => reached[level]), isProven };
};
