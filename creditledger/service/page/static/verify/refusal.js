// What ends a check: a part that does not hold, or something that this browser cannot do.

/** A part does not hold: what was asked for, and what was there instead. */
export class Refusal extends Error {
  constructor(message, { expected = "", found = "" } = {}) {
    super(message);
    this.name = "Refusal";
    this.expected = expected;
    this.found = found;
  }
}

/** This browser cannot look: that says nothing of what it was to look at. */
export class Unable extends Error {
  constructor(message) {
    super(message);
    this.name = "Unable";
  }
}

export const need = (holds, message, expected, found) => {
  if (!holds) throw new Refusal(message, { expected, found });
};
