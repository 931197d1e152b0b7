// Prints how the npm package aws-kinesis-agg reads each vector in the KPL's format: name, number of records, digest.

import aws from 'aws-kinesis-agg';
import { dataOf, digest, vectors } from './vectors.mjs';

for (const vector of vectors) {
  if (vector.kind !== 'aggregate' || vector.error) continue;
  const record = { data: dataOf(vector).toString('base64'), partitionKey: 'a', sequenceNumber: '1' };
  aws.deaggregateSync(record, true, (error, records) => {
    const found = records?.map((each) => ({
      data: Buffer.from(each.data, 'base64'),
      partitionKey: each.partitionKey,
      explicitHashKey: each.explicitPartitionKey,
    }));
    if (found?.some((each, number) => records[number].subSequenceNumber !== number)) throw new Error(vector.name);
    console.log(vector.name, error ? 'error' : `${found.length} ${digest(found)}`);
  });
}
