// What the pool's server is asked for, as far as it is short enough.
import { Refusal } from "./refusal.js";

/** The answer's bytes: of a longer one than `most`, one more than that. */
export const fetchBytes = async (path, most) => {
  const answer = await fetch(path, { cache: "no-cache", redirect: "error" });
  if (!answer.ok) throw new Refusal(`the pool did not give ${path}: ${await problemOf(answer)}`);
  const reader = answer.body.getReader();
  const bytes = new Uint8Array(most + 1);
  let at = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const taken = part.value.subarray(0, bytes.length - at);
    bytes.set(taken, at);
    at += taken.length;
    if (at > most) {
      await reader.cancel();
      break;
    }
  }
  return bytes.slice(0, at);
};

const problemOf = async (answer) => {
  try {
    return (await answer.json()).detail.slice(0, 300);
  } catch {
    return `status ${answer.status}`;
  }
};
