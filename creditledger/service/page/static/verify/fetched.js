// What the pool's server is asked for, as far as it is short enough.
import { Refusal } from "./refusal.js";

/** The answer's bytes: of a longer one than `most`, one more than that. */
export const fetchBytes = async (path, most) => {
  const answer = await fetch(path, { cache: "no-cache", redirect: "error" });
  if (!answer.ok) throw new Refusal(`the pool did not give ${path}: ${await problemOf(answer)}`);
  // A blob may be of any size: the browser keeps it where it has room.
  return new Uint8Array(await (await answer.blob()).slice(0, most + 1).arrayBuffer());
};

const problemOf = async (answer) => {
  try {
    return (await answer.json()).detail.slice(0, 300);
  } catch {
    return `status ${answer.status}`;
  }
};
