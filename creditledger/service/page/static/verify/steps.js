// What is checked of a bundle, in order, and in which words: specs/bundle.md §3.
import { openBundle } from "./bundle.js";
import { countSigners } from "./certificate.js";
import { openHead, verifyAge, verifyLog, verifyWitnesses } from "./log_head.js";
import { leafHash, verifyInclusion } from "./merkle.js";
import { equal, hex } from "./octets.js";
import { verifyOrder } from "./order.js";
import { verifyPlace } from "./placed_record.js";
import { decodeRecord, recordDigest } from "./record.js";
import { need } from "./refusal.js";
import { Signers } from "./signers.js";
import { readStates, splitStates } from "./states.js";
import { OUTCOMES, readVerdicts } from "./verdicts.js";

const DELEGATED_HOLD = 0x3b;
const holds = (expected, found) => ({ state: "holds", expected, found });
const unchecked = (reason, found) => ({ state: "unchecked", reason, found });
const absent = (reason) => ({ state: "absent", reason });
const LATER =
  "a later key than the account's first signed it: only the round says that it may, and a browser cannot check who certified that";

const lookAtForm = async (it) => {
  it.bundle = openBundle(it.encoded);
  it.shown = splitStates(it.bundle);
  return holds(
    "canonical bytes, and the parts that it needs",
    `${it.encoded.length} bytes about: ${it.bundle.subject}`,
  );
};

const lookAtLedger = async ({ bundle, policy }) => {
  need(policy.ledger !== null, "the policy names no ledger", "a #creditledger ledger line", "none");
  need(
    equal(bundle.ledger, policy.ledger),
    "the bundle is of another ledger",
    hex(policy.ledger),
    hex(bundle.ledger),
  );
  return holds(hex(policy.ledger), hex(bundle.ledger));
};

const lookAtAsked = async ({ bundle, asked }) => {
  need(bundle.subject === "receipt", "the bundle is no receipt's", "a receipt", bundle.subject);
  const digest = await recordDigest(decodeRecord(bundle.body, "receipt"), bundle.ledger);
  need(equal(digest, asked), "the bundle is of another receipt", hex(asked), hex(digest));
  return holds(hex(asked), hex(digest));
};

const lookAtLog = async (it) => {
  if (it.bundle.checkpoint.length === 0)
    return absent("the bundle has no checkpoint: it shows what was signed, not that it was logged");
  it.head = await openHead(it.policy, it.bundle.checkpoint);
  const keys = await verifyLog(it.policy, it.head);
  return holds(
    `a signature of ${it.head.origin}`,
    `${it.head.size} entries, root ${hex(it.head.root)}, signed by ${keys.join(", ")}`,
  );
};

const lookAtWitnesses = async (it) => {
  if (it.head === undefined) return absent("the bundle has no checkpoint");
  it.witnessed = await verifyWitnesses(it.policy, it.head);
  const { names, unread, isVerified } = it.witnessed;
  it.isHeadVerified = isVerified;
  if (it.policy.quorum === "none")
    return holds("no witness: the policy asks for none", names.join(", ") || "none");
  const found = `${names.join(", ")}${unread.length > 0 ? `; of these ${unread.join(", ")} with ML-DSA, which browsers cannot check` : ""}`;
  const expected = `quorum ${it.policy.quorum}`;
  return isVerified
    ? holds(expected, found)
    : {
        ...unchecked("the quorum needs a witness that signs with ML-DSA, which browsers cannot check", found),
        expected,
      };
};

const lookAtAge = async (it) => {
  if (it.head === undefined) return absent("the bundle has no checkpoint");
  const isVerified = verifyAge(it.policy, it.witnessed, it.nowUnixMs);
  it.isHeadVerified &&= isVerified;
  const seen = it.witnessed.time === null ? "no witness says" : moment(1_000n * it.witnessed.time);
  if (!isVerified) return unchecked("it is new only by the word of a witness that signs with ML-DSA", seen);
  return holds(
    it.policy.maxAgeMs === null
      ? "any age: the policy names no limit"
      : `at most ${it.policy.maxAgeMs} ms old`,
    seen,
  );
};

const lookAtReceipt = async (it) => {
  const { bundle } = it;
  const [batch, receipt] = [
    decodeRecord(bundle.entry[0].record, "batch"),
    decodeRecord(bundle.body, "receipt"),
  ];
  await verifyInclusion(
    await leafHash(bundle.body),
    bundle.leaf[0].index,
    batch.count,
    batch.root,
    bundle.leaf[0].path,
  );
  need(equal(receipt.node, batch.node), "the receipt is another node's", hex(batch.node), hex(receipt.node));
  Object.assign(it, { record: receipt, entry: batch, signer: batch.node });
  return holds(`root ${hex(batch.root)}`, `receipt ${bundle.leaf[0].index + 1n} of ${batch.count}`);
};

/** The entry of a batch or a hold, and who must have signed it. */
const readEntry = (it) => {
  const { subject, entry } = it.bundle;
  if (it.entry !== undefined) return;
  const isDelegated = entry[0].record[1] === DELEGATED_HOLD;
  const kind = subject === "batch" ? "batch" : isDelegated ? "delegated_hold" : "hold";
  const record = decodeRecord(entry[0].record, kind);
  Object.assign(it, { record, entry: record, signer: record.node ?? record.delegate ?? record.holder });
};

const lookAtEntry = async (it) => {
  readEntry(it);
  if (it.head === undefined) return absent("the bundle has no checkpoint");
  const [signed] = it.bundle.entry;
  await verifyPlace(signed, it.head);
  const [{ index, time_unix_ms: time }] = signed.place;
  return holds(`root ${hex(it.head.root)}`, `entry ${index} of ${it.head.size}, logged ${moment(time)}`);
};

const lookAtSignature = async (it) => {
  it.signers = await readSigners(it);
  it.signedBy = await it.signers.verify(it.bundle.entry[0], it.entry, it.signer);
  const found = `by the key ${hex(it.signedBy.key)}`;
  return it.signedBy.isLater ? unchecked(LATER, found) : holds(`a signature of ${hex(it.signer)}`, found);
};

const readSigners = async ({ bundle, shown }) => {
  const round = bundle.certified.length > 0 ? decodeRecord(bundle.certified[0].round.record, "round") : null;
  return Signers.read(bundle.ledger, round, shown);
};

const lookAtOrder = async (it) => {
  if (it.bundle.job.length === 0)
    return absent("the bundle has neither job nor delivery: it says nothing of who ordered");
  const { isDelivered, isLater } = await verifyOrder(it.bundle, it.record, it.signers);
  it.isDelivered = isDelivered;
  const found = isDelivered ? "the job and a delivery that covers the receipt" : "the job; no delivery";
  return isLater ? unchecked(LATER, found) : holds("a job that plans this span, signed by its client", found);
};

const lookAtRound = async (it) => {
  if (it.signers === undefined) it.signers = await readSigners(it);
  it.signers.requireAllUsed();
  if (it.bundle.certified.length === 0) return absent("no certified round covers it yet");
  need(
    it.policy.committee !== null,
    "the policy names no validators",
    "#creditledger validator lines",
    "none",
  );
  const signed = it.bundle.certified[0].round;
  it.round = decodeRecord(signed.record, "round");
  const [{ index }] = signed.place;
  need(
    index === it.round.log_size,
    "the round does not stand where it says",
    `entry ${it.round.log_size}`,
    `entry ${index}`,
  );
  await verifyPlace(signed, it.head);
  return holds(
    `entry ${it.round.log_size}`,
    `round ${it.round.number}, of the entries before ${it.round.log_size}`,
  );
};

const lookAtState = async (it) => {
  if (it.round === undefined) return absent("there is no certified round");
  Object.assign(it, await readStates(it.bundle, it.record ?? null, it.round, it.shown));
  const told = holds(`a value under ${hex(it.round.map_root)}`, stateText(it));
  return {
    ...told,
    reason: "the round does say so: that the round is to be believed is for its certificate to show",
  };
};

const stateText = ({ bundle, own, lot }) => {
  if (bundle.subject === "absent") return "nothing of that id was accepted";
  if (bundle.subject !== "receipt")
    return own === null ? "keys of its signer" : `the state of the ${bundle.subject}`;
  const paid =
    own.settled === 0n
      ? "not settled"
      : lot === null
        ? "settled"
        : lot.vested > 0n
          ? "settled and vested"
          : "settled, not yet vested";
  return `${OUTCOMES[own.outcome]}, ${own.due} checks due, ${paid}`;
};

const lookAtVerdicts = async (it) => {
  if (it.round === undefined) return absent("there is no certified round");
  const members = await readVerdicts(it.bundle, it.own, it.policy.committee);
  it.work = OUTCOMES[it.own.outcome];
  if (members.length === 0) return absent(`no verdict is asked for: ${it.work}`);
  return unchecked(
    `they say ${it.work}; that validators signed them is BLS, which browsers cannot check`,
    `by member ${members.join(", ")}`,
  );
};

const lookAtCertificate = async (it) => {
  if (it.round === undefined) return absent("there is no certified round");
  const { committee } = it.policy;
  const count = countSigners(it.bundle.certified[0].signers, committee);
  const found = `it names ${count} of ${committee.size} validators`;
  return {
    ...unchecked("their signature is BLS, which browsers cannot check", found),
    expected: `signed by ${committee.quorum} of ${committee.size}`,
  };
};

const moment = (unixMs) =>
  unixMs < 8_640_000_000_000_000n ? new Date(Number(unixMs)).toISOString() : `${unixMs} ms`;

const ENTRIES = ["receipt", "batch", "hold"];
const named = (receipt, batch, hold) => (it) => ({ receipt, batch, hold })[it.bundle?.subject ?? "receipt"];

/** Which subjects a step is for; all where it says nothing. */
const STEPS = [
  { id: "form", title: () => "The file is one bundle, in its one spelling", look: lookAtForm },
  { id: "ledger", title: () => "It is of the ledger that the policy names", look: lookAtLedger },
  { id: "asked", title: () => "It is the receipt that was asked for", look: lookAtAsked },
  { id: "log", title: () => "The log signed this state of itself", look: lookAtLog },
  { id: "witnesses", title: () => "Enough witnesses saw the same log", look: lookAtWitnesses },
  { id: "age", title: () => "They saw it recently enough", look: lookAtAge },
  { id: "receipt", of: ["receipt"], title: () => "The receipt is in its node’s batch", look: lookAtReceipt },
  {
    id: "entry",
    of: ENTRIES,
    title: named("The batch is in the log", "The batch is in the log", "The hold is in the log"),
    look: lookAtEntry,
  },
  {
    id: "signature",
    of: ENTRIES,
    title: named(
      "Its node signed the batch",
      "Its node signed the batch",
      "Its holder, or a delegate, signed the hold",
    ),
    look: lookAtSignature,
  },
  {
    id: "order",
    of: ["receipt"],
    title: () => "A client ordered the work, and accepted it",
    look: lookAtOrder,
  },
  { id: "round", title: () => "A round that covers it is in the log", look: lookAtRound },
  { id: "state", title: () => "The round’s map says what became of it", look: lookAtState },
  { id: "verdicts", of: ["receipt"], title: () => "Verdicts say the same", look: lookAtVerdicts },
  { id: "certificate", title: () => "A quorum of validators certified the round", look: lookAtCertificate },
];

/** The steps for what is known of the bundle so far. */
export const stepsOf = (it) => {
  const subject = it.bundle?.subject ?? "receipt";
  return STEPS.filter(
    (step) => (step.of?.includes(subject) ?? true) && (step.id !== "asked" || it.asked !== null),
  );
};
