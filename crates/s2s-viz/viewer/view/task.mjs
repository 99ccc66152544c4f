// What the correct output is, where a task defines it.

const TASKS = {
  reverse: (source) => source.toReversed(),
  copy: (source) => source,
  sort: (source) => source.toSorted((a, b) => a - b),
  duplicate: (source) => [...source, ...source],
  "odds-first": (source) => [
    ...source.filter((_, i) => i % 2 === 0),
    ...source.filter((_, i) => i % 2 === 1),
  ],
  "bigram-flip": (source) => source.map((token, i) => (i % 2 ? source[i - 1] : (source[i + 1] ?? token))),
  "block-reverse": (source, { block }) => {
    const blocks = [];
    for (let i = 0; i < source.length; i += block) blocks.push(source.slice(i, i + block).reverse());
    return blocks.flat();
  },
  mirror: (source) => [...source, ...source.toReversed()],
  triple: (source) => [...source, ...source, ...source],
  rotate: (source) => [...source.slice(1), ...source.slice(0, 1)],
  "reverse-duplicate": (source) => [...source.toReversed(), ...source.toReversed()],
};

/** The target of `source`, or null: text has no task. */
export function targetOf(data, source) {
  const task = data.folder || data.file ? undefined : TASKS[data.task];
  return task ? task(source, data) : null;
}
