// The reader's own policy, kept by this browser for one ledger.

export class KeptPolicy {
  constructor(ledger) {
    this.name = `creditledger/policy/${ledger}`;
    this.unkept = null;
  }

  /** Its text; null where there is none. */
  read() {
    try {
      return localStorage.getItem(this.name) ?? this.unkept;
    } catch {
      return this.unkept;
    }
  }

  /** For as long as the page is open where the browser keeps nothing. */
  write(text) {
    this.unkept = text;
    try {
      localStorage.setItem(this.name, text);
    } catch {
      // A browser that keeps nothing: the page itself remembers.
    }
  }

  forget() {
    this.unkept = null;
    try {
      localStorage.removeItem(this.name);
    } catch {
      // Nothing was kept.
    }
  }
}
