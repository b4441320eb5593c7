// The part of a page that checks a bundle: which one, under whose policy, and what came of it.
import { BYTES_MAX } from "./canonical.js";
import { fetchBytes } from "./fetched.js";
import { KeptPolicy } from "./kept_policy.js";
import { fromHex } from "./octets.js";
import { parsePolicy, POLICY_BYTES_MAX } from "./policy.js";
import { Refusal } from "./refusal.js";
import { showFacts, showReport, showStep, showTrouble, startReport } from "./report.js";
import { encodeText } from "./utf8.js";
import { verifyBundle } from "./verification.js";

const by = (id) => document.getElementById(id);
const root = by("checker");
const receipt = root.dataset.receipt;
const kept = new KeptPolicy(root.dataset.ledger);
const chosen = () => document.querySelector("input[name=policy]:checked").value;

/** The bundle's bytes: of a file that was opened, else of the receipt that the page is about. */
let opened = null;
let run = 0;

const fetchBundle = () => fetchBytes(`/v1/bundles/${receipt}`, BYTES_MAX);

const readPolicy = async () => {
  if (chosen() === "pool") return parsePolicy(await fetchBytes("/policy", POLICY_BYTES_MAX));
  const text = kept.read();
  if (text === null) throw new Refusal("no policy of your own is kept here: give one below");
  return parsePolicy(encodeText(text));
};

/** Check what is there to be checked; a later check silences an earlier one. */
const check = async () => {
  run += 1;
  const own = run;
  const isLast = () => own === run;
  if (opened === null && receipt === "") return;
  const isPools = chosen() === "pool";
  startReport(opened?.name ?? null);
  try {
    const policy = await readPolicy();
    const encoded = opened?.bytes ?? (await fetchBundle());
    const asked = opened === null ? fromHex(receipt) : null;
    const onStep = (step) => isLast() && showStep(step);
    const report = await verifyBundle(encoded, policy, { asked, nowUnixMs: Date.now(), onStep });
    if (!isLast()) return;
    showReport(report, { isPools });
    showFacts(report);
  } catch (error) {
    if (isLast()) showTrouble(error);
  }
};

const open = async (file) => {
  if (file === undefined) return;
  // What is too long is refused by the check itself: one byte more is enough to tell.
  opened = { name: file.name, bytes: new Uint8Array(await file.slice(0, BYTES_MAX + 1).arrayBuffer()) };
  await check();
};

const choose = () => {
  by("own-policy").hidden = chosen() === "pool";
  by("policy-text").value = kept.read() ?? by("policy-text").value;
};

const keep = async () => {
  const text = by("policy-text").value.replace(/\n?$/, "\n");
  try {
    await parsePolicy(encodeText(text));
    kept.write(text);
    by("policy-said").textContent = "Kept in this browser, for this ledger.";
  } catch (error) {
    by("policy-said").textContent = `Not kept: ${error.message}.`;
    return;
  }
  await check();
};

const forget = async () => {
  kept.forget();
  by("policy-text").value = "";
  by("policy-said").textContent = "Forgotten.";
  document.querySelector("input[name=policy][value=pool]").checked = true;
  choose();
  await check();
};

const openPolicy = async ([file]) => {
  if (file === undefined) return;
  by("policy-text").value = await file.slice(0, POLICY_BYTES_MAX + 1).text();
  await keep();
};

for (const one of document.querySelectorAll("input[name=policy]")) {
  one.addEventListener("change", () => {
    choose();
    check();
  });
}
by("policy-keep").addEventListener("click", keep);
by("policy-forget").addEventListener("click", forget);
by("policy-file").addEventListener("change", (event) => openPolicy(event.target.files));
by("bundle-file").addEventListener("change", (event) => open(event.target.files[0]));
by("drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  by("drop").classList.add("over");
});
by("drop").addEventListener("dragleave", () => by("drop").classList.remove("over"));
by("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  by("drop").classList.remove("over");
  open(event.dataTransfer.files[0]);
});

if (kept.read() !== null) document.querySelector("input[name=policy][value=own]").checked = true;
if (by("origin") !== null) by("origin").textContent = location.origin;
root.hidden = false;
choose();
check();
