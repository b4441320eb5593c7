// The client's side of a receipt: the job it was run for, and the countersignature over it: specs/bundle.md §3.
import { equal, hex } from "./octets.js";
import { decodeRecord, recordDigest } from "./record.js";
import { need } from "./refusal.js";

/** Refuses a job or a delivery that is not this receipt's. `isDelivered`: the delivery covers the receipt;
 *  `isLater`: a signature is by a key that only the round speaks for. */
export const verifyOrder = async (bundle, receipt, signers) => {
  if (bundle.job.length === 0) return { isDelivered: false, isLater: false };
  const job = decodeRecord(bundle.job[0].record, "job");
  await requireJobOf(receipt, job, bundle.ledger);
  const ordered = await signers.verify(bundle.job[0], job, job.client);
  if (bundle.delivery.length === 0) return { isDelivered: false, isLater: ordered.isLater };
  const delivery = decodeRecord(bundle.delivery[0].record, "delivery");
  const isOfJob = equal(delivery.client, job.client) && equal(delivery.job, receipt.job);
  need(isOfJob, "the delivery is of another job", hex(receipt.job), hex(delivery.job));
  const digest = await recordDigest(receipt, bundle.ledger);
  need(
    delivery.heads.some((head) => covers(head, receipt, digest)),
    "the delivery does not cover the receipt",
    `a head of layer ${receipt.layer_start} from position ${stopOf(receipt)} on`,
    delivery.heads.map((head) => `layer ${head.layer_start} to ${head.positions}`).join(", "),
  );
  const accepted = await signers.verify(bundle.delivery[0], delivery, job.client);
  return { isDelivered: true, isLater: ordered.isLater || accepted.isLater };
};

const requireJobOf = async (receipt, job, ledger) => {
  const digest = await recordDigest(job, ledger);
  need(
    equal(digest, receipt.job),
    "the job is not the one that the receipt names",
    hex(receipt.job),
    hex(digest),
  );
  const isIts = (span) =>
    span.layer_start === receipt.layer_start &&
    span.layer_stop === receipt.layer_stop &&
    equal(span.node, receipt.node);
  need(
    equal(job.model, receipt.model) && job.plan.some(isIts),
    "the job plans other work",
    `layers ${receipt.layer_start} to ${receipt.layer_stop} by the receipt's node`,
    "another plan",
  );
};

const stopOf = (receipt) => receipt.window_start + receipt.positions;

const covers = (head, receipt, digest) => {
  if (head.layer_start !== receipt.layer_start || !equal(head.node, receipt.node)) return false;
  const stop = stopOf(receipt);
  // A head names the receipt that ends at its position: there is no other of that window.
  return head.positions === stop ? equal(head.receipt, digest) : head.positions > stop;
};
