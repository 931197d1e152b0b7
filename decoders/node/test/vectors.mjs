// Reads ../vectors/vectors.jsonl, whose README describes a line.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export const vectors = readFileSync(new URL('../../vectors/vectors.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line));

export function dataOf(vector) {
  return Buffer.concat([vector.data].flat().map(part));
}

function part(given) {
  if (typeof given === 'string') return Buffer.from(given, 'base64');
  return Buffer.alloc(given.size, Buffer.from(given.repeat, 'base64'));
}

export function described(data, expected) {
  return typeof expected === 'string'
    ? data.toString('base64')
    : { size: data.length, sha256: createHash('sha256').update(data).digest('hex') };
}

export function digest(records) {
  const whole = createHash('sha256');
  for (const each of records) {
    for (const text of [each.data, each.partitionKey, each.explicitHashKey ?? '-']) {
      const bytes = Buffer.from(text);
      whole.update(`${bytes.length}:`).update(bytes);
    }
  }
  return whole.digest('hex');
}
