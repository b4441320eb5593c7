// Which witnesses are enough: specs/log.md §10.

export const NO_QUORUM = "none";

/** Since when a quorum has cosigned, in Unix seconds; 0 for never. `times`: by witness, 0 or left out for none. */
export const quorumTime = (policy, times) => {
  const since = new Map([...policy.witnesses.keys()].map((name) => [name, times.get(name) ?? 0n]));
  for (const [name, { least, members }] of policy.groups) {
    const latest = members
      .map((member) => since.get(member))
      .sort((left, right) => (left < right ? 1 : left > right ? -1 : 0));
    since.set(name, latest[least - 1]);
  }
  return since.get(policy.quorum) ?? 0n;
};
