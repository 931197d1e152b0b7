export interface UserRecord {
  /** May share memory with the Kinesis record's data. */
  data: Buffer;
  partitionKey: string | null;
  /** A decimal number of up to 128 bits. */
  explicitHashKey: string | null;
  /** null for a record without headers. A header may have no value: null. */
  headers: Record<string, string | null> | null;
  /** The record's position in the Kinesis record, from 0. */
  subSequenceNumber: number;
  /** false for a plain record. */
  aggregated: boolean;
  /** Those of the Kinesis record; null for plain bytes. */
  sequenceNumber: string | null;
  arrival: Date | null;
}

export interface Limits {
  /** Bytes; 16 MiB by default. */
  maxUncompressed?: number;
  /** 262,144 by default. */
  maxRecords?: number;
}

export class DeaggregationError extends Error {
  code: 'TOO_LARGE' | 'TOO_MANY_RECORDS' | 'UNREADABLE';
}

export type KinesisRecord =
  | Uint8Array
  | { kinesis: { data: string; partitionKey?: string; sequenceNumber?: string; approximateArrivalTimestamp?: number } }
  | { Data?: Uint8Array; PartitionKey?: string; SequenceNumber?: string; ApproximateArrivalTimestamp?: Date };

export function deaggregate(record: KinesisRecord, limits?: Limits): UserRecord[];
