// How a check is told to the person who reads the page.
import { factsOf } from "./facts.js";
import { Refusal, Unable } from "./refusal.js";

const MARKS = { holds: "✓", fails: "✗", unchecked: "○", absent: "–", skipped: "–" };
const WORDS = {
  holds: "holds",
  fails: "does not hold",
  unchecked: "not checked here",
  absent: "not in this bundle",
  skipped: "not looked at",
};
const SIGNER = { receipt: "its node", batch: "its node", hold: "its holder, or a delegate," };

/** What each level means for a bundle, as the end of a sentence. */
const LEVELS = {
  signed: ({ bundle }) => `${SIGNER[bundle.subject]} signed it`,
  logged: ({ policy }) =>
    `it stands in the log that ${policy.quorum === "none" ? "its operator signed" : "a quorum of witnesses saw"}`,
  certified: () => "a round covers it",
  upheld: () => "the work was upheld",
  vested: () => "it is paid for good",
};
const COMMAND = "creditledger verify";

const by = (id) => document.getElementById(id);

/** An element: `parts` are texts, which are never markup, and elements. */
const made = (tag, className, ...parts) => {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  element.append(...parts);
  return element;
};

const listed = (levels, it) => {
  const all = levels.map((level) => `that ${LEVELS[level](it)}`);
  return all.length < 2 ? all.join("") : `${all.slice(0, -1).join(", ")} and ${all.at(-1)}`;
};

const say = (state, mark, headline, ...more) => {
  by("verdict").className = `verdict ${state}`;
  const lines = more.filter((line) => line !== null).map((line) => made("p", "", ...[line].flat()));
  const sign = made("span", "mark", mark);
  sign.setAttribute("aria-hidden", "true");
  by("verdict").replaceChildren(sign, made("div", "", made("p", "headline", headline), ...lines));
};

/** A check begins, of the page's own receipt or of a file of that name. */
export const startReport = (file) => {
  say("working", "…", file === null ? "Checking" : `Checking ${file}`);
  by("steps").replaceChildren();
  by("said-by-bundle").hidden = true;
};

export const showStep = ({ id, state, title, reason, expected, found }) => {
  const mark = made("span", "mark", MARKS[state]);
  mark.setAttribute("aria-hidden", "true");
  const words = made("p", "what", `${title} `, made("span", "badge", WORDS[state]));
  const pairs = [
    ["Expected", expected],
    ["Found", found],
  ].filter(([, text]) => text);
  const facts = made(
    "dl",
    "found",
    ...pairs.flatMap(([name, text]) => [made("dt", "", name), made("dd", "", text)]),
  );
  const line = made(
    "li",
    `step ${state}`,
    mark,
    made(
      "div",
      "",
      words,
      ...(reason ? [made("p", "why", `${capital(reason)}.`)] : []),
      ...(pairs.length > 0 ? [facts] : []),
    ),
  );
  line.dataset.step = id;
  line.dataset.state = state;
  by("steps").append(line);
};

/** `isPools`: the policy is the pool's own. */
export const showReport = (report, { isPools }) => {
  const { verdict, stopped, proven, claimed, it } = report;
  by("checker").dataset.verdict = verdict;
  const trust = isPools
    ? "Whose signatures count, this pool said. Who wants to depend on nobody's word brings a policy of their own, below."
    : null;
  if (verdict === "refused") {
    say(
      "fails",
      MARKS.fails,
      "Do not believe this bundle",
      `“${stopped.title}” does not hold: ${stopped.reason}.`,
    );
  } else if (verdict === "unable") {
    say(
      "unchecked",
      MARKS.unchecked,
      "Your browser could not check this",
      `${capital(stopped.reason)}.`,
      byCommand("That says nothing of the bundle."),
    );
  } else if (verdict === "open") {
    say(
      "unchecked",
      MARKS.unchecked,
      "Nothing here fails, and nothing is proven",
      byCommand("It rests on signatures that no browser can check."),
      trust,
    );
  } else {
    say(
      "holds",
      MARKS.holds,
      `Your browser has verified ${listed(proven, it)}`,
      claimedText(claimed, it),
      trust,
    );
  }
};

const claimedText = (claimed, it) =>
  claimed.length === 0
    ? null
    : byCommand(
        `The bundle says more: ${listed(claimed, it)}. That rests on signatures which no browser can check.`,
      );

const byCommand = (text) => [`${text} `, made("code", "", COMMAND), " checks it all."];

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Something went wrong before there was anything to check. */
export const showTrouble = (error) => {
  by("checker").dataset.verdict = "trouble";
  const isKnown = error instanceof Refusal || error instanceof Unable;
  say(
    "unchecked",
    MARKS.unchecked,
    "There was nothing to check",
    `${capital(isKnown ? error.message : "the pool could not be reached")}.`,
  );
};

/** Nothing is told of a bundle that is not to be believed. */
export const showFacts = ({ verdict, it }) => {
  by("said-by-bundle").hidden = verdict !== "holds" && verdict !== "open";
  if (by("said-by-bundle").hidden) return;
  const facts = factsOf(it).flatMap(([name, text]) => [made("dt", "", name), made("dd", "", text)]);
  by("said").replaceChildren(...facts);
};
