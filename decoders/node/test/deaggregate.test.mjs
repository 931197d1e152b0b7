import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deaggregate, DeaggregationError } from '../deaggregate.mjs';
import { dataOf, described, digest, vectors } from './vectors.mjs';

const limits = (vector) => ({
  ...(vector.max_uncompressed && { maxUncompressed: vector.max_uncompressed }),
  ...(vector.max_records && { maxRecords: vector.max_records }),
});

for (const vector of vectors) {
  test(vector.name, () => {
    const data = dataOf(vector);
    if (vector.error) {
      const isExpected = (error) => error instanceof DeaggregationError && error.code === vector.error.toUpperCase();
      assert.throws(() => deaggregate(data, limits(vector)), isExpected);
      return;
    }
    const found = deaggregate(data, limits(vector));
    assert.deepEqual(found.map((each) => each.subSequenceNumber), found.map((_, number) => number));
    assert.ok(found.every((each) => each.aggregated === (vector.kind !== 'plain')));
    if (vector.kind === 'plain') {
      const { data: content, partitionKey, explicitHashKey, headers } = found[0];
      assert.equal(found.length, 1);
      assert.ok(content.equals(data));
      assert.deepEqual([partitionKey, explicitHashKey, headers], [null, null, null]);
    } else if (vector.digest) {
      assert.deepEqual([found.length, digest(found)], [vector.count, vector.digest]);
    } else {
      assert.equal(found.length, vector.records.length);
      for (const [number, expected] of vector.records.entries()) {
        const { data: content, partitionKey, explicitHashKey, headers } = found[number];
        assert.deepEqual(described(content, expected.data), expected.data);
        assert.equal(partitionKey, expected.partition_key);
        assert.equal(explicitHashKey, expected.explicit_hash_key ?? null);
        assert.deepEqual(headers && { ...headers }, expected.headers ?? null);
      }
    }
  });
}

const batch = dataOf(vectors.find((each) => each.name === 'batch-gzip-headers'));

test('a record of a Lambda event', () => {
  const common = { partitionKey: 'a', sequenceNumber: '7', approximateArrivalTimestamp: 1.5 };
  const kinesis = { ...common, data: batch.toString('base64') };
  const found = deaggregate({ kinesis, eventID: 'shardId-000000000000:7' });
  const { partitionKey, sequenceNumber, arrival } = found[3];
  assert.deepEqual([partitionKey, sequenceNumber, arrival.getTime()], ['b', '7', 1500]);
  const [plain] = deaggregate({ kinesis: { ...kinesis, data: 'eA==' } });
  assert.deepEqual([plain.data.toString(), plain.partitionKey, plain.sequenceNumber], ['x', 'a', '7']);
});

test("a record of the SDK's GetRecords", () => {
  const arrival = new Date();
  const common = { PartitionKey: 'a', SequenceNumber: '7', ApproximateArrivalTimestamp: arrival };
  const record = { ...common, Data: new Uint8Array(batch) };
  const found = deaggregate(record);
  assert.deepEqual(found.map((each) => [each.partitionKey, each.sequenceNumber, each.arrival])[2], ['b', '7', arrival]);
  assert.deepEqual({ ...found[0].headers }, { 'content-type': 'application/json' });
});

test('a record of another form', () => {
  for (const record of [undefined, null, 'text', {}, { Records: [] }, { Data: 'text' }]) {
    assert.throws(() => deaggregate(record), TypeError);
  }
});
