// Reads what kplpy writes into a Kinesis stream: aggregates in the KPL's format, compressed batches and plain records.
// docs/format.md describes the formats.

import { createHash } from 'node:crypto';
import zlib from 'node:zlib';

const AGGREGATE = Buffer.from([0xf3, 0x89, 0x9a, 0xc2]);
const BATCH = Buffer.from([0xcb, 0x6b, 0x70, 0x62]);
const DIGEST_SIZE = 16;
const MIB = 1 << 20;
const USUAL_WINDOW_LOG = 23; // every zstd decoder should take a window of 8 MiB (RFC 8878, 3.1.1.1.2)

/** A Kinesis record that is not returned. code: TOO_LARGE, TOO_MANY_RECORDS or UNREADABLE. */
export class DeaggregationError extends Error {
  constructor(code, message) {
    super(message);
    this.name = 'DeaggregationError';
    this.code = code;
  }
}

/**
 * Returns the user records in one Kinesis record. A plain record gives one user record; so does damaged data.
 *
 * record: the data as a Uint8Array; or a record of a Lambda event; or a record of the SDK's GetRecords.
 * options.maxUncompressed: bytes, 16 MiB by default. options.maxRecords: 262,144 by default;
 * four times as many headers.
 *
 * Throws DeaggregationError for a batch above a limit or of a later version, and TypeError for another form of record.
 */
export function deaggregate(record, { maxUncompressed = 16 * MIB, maxRecords = 1 << 18 } = {}) {
  const { data, partitionKey, sequenceNumber, arrival } = read(record);
  const common = { sequenceNumber, arrival };
  const aggregate = aggregateMessage(data);
  const message = aggregate ?? batchMessage(data, maxUncompressed);
  const inner = message && userRecords(message, maxRecords);
  if (!inner || (!aggregate && inner.length === 0)) {
    const plain = { data, partitionKey, explicitHashKey: null, headers: null };
    return [{ ...plain, subSequenceNumber: 0, aggregated: false, ...common }];
  }
  return inner.map((each, subSequenceNumber) => ({ ...each, subSequenceNumber, aggregated: true, ...common }));
}

function read(record) {
  if (record instanceof Uint8Array) {
    return { data: buffer(record), partitionKey: null, sequenceNumber: null, arrival: null };
  }
  if (record?.kinesis && typeof record.kinesis.data === 'string') {
    const { data, partitionKey = null, sequenceNumber = null, approximateArrivalTimestamp: seconds } = record.kinesis;
    const arrival = seconds === undefined ? null : new Date(seconds * 1000);
    return { data: Buffer.from(data, 'base64'), partitionKey, sequenceNumber, arrival };
  }
  if (record?.Data instanceof Uint8Array) {
    const { PartitionKey: partitionKey = null, SequenceNumber: sequenceNumber = null } = record;
    return { data: buffer(record.Data), partitionKey, sequenceNumber, arrival: record.ApproximateArrivalTimestamp ?? null };
  }
  throw new TypeError('a record must be a Uint8Array, a record of a Lambda event, or a record of GetRecords with Data');
}

function buffer(bytes) {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function aggregateMessage(data) {
  const end = data.length - DIGEST_SIZE;
  if (end <= AGGREGATE.length || !data.subarray(0, 4).equals(AGGREGATE)) return null;
  const message = data.subarray(AGGREGATE.length, end);
  return createHash('md5').update(message).digest().equals(data.subarray(end)) ? message : null;
}

function batchMessage(data, maxUncompressed) {
  if (!data.subarray(0, 4).equals(BATCH)) return null;
  let size = 0;
  let start = 10;
  for (let factor = 1; ; factor *= 128) {
    if (start >= Math.min(data.length, 15)) return null;
    const byte = data[start++];
    size += (byte & 0x7f) * factor;
    if (byte < 0x80) break;
  }
  const [version, codec] = data.subarray(4, 6);
  if (version !== 1 || codec > 2) {
    const found = `a compressed batch of version ${version} and codec ${codec}`;
    throw new DeaggregationError('UNREADABLE', `${found}: a later kplpy's`);
  }
  if (size > maxUncompressed) {
    const found = `a compressed batch of ${size} bytes uncompressed`;
    throw new DeaggregationError('TOO_LARGE', `${found}: the limit is ${maxUncompressed}`);
  }
  if (size === 0) return null; // no records
  const payload = data.subarray(start);
  const message = [() => payload, gunzip, unzstd][codec](payload, size);
  return message?.length === size && zlib.crc32(message) === data.readUInt32BE(6) ? message : null;
}

/** Returns the content, or null if it is damaged or longer than `size`. */
function gunzip(payload, size) {
  try {
    return zlib.gunzipSync(payload, { maxOutputLength: size });
  } catch {
    return null;
  }
}

// Node.js 22.15 and 23.8 have zstd.
const unzstd = zlib.zstdDecompressSync ? nativeUnzstd : await wasmUnzstd();

function nativeUnzstd(payload, size) {
  const windowLog = Math.max(USUAL_WINDOW_LOG, Math.ceil(Math.log2(size)));
  const params = { [zlib.constants.ZSTD_d_windowLogMax]: Math.min(windowLog, 31) };
  try {
    return zlib.zstdDecompressSync(payload, { maxOutputLength: size, params });
  } catch {
    return null;
  }
}

async function wasmUnzstd() {
  let decoder;
  try {
    const { ZSTDDecoder } = await import('zstddec');
    decoder = new ZSTDDecoder();
    await decoder.init();
  } catch {
    return () => {
      throw new DeaggregationError('UNREADABLE', 'a batch compressed with zstd: take Node.js 22.15, or install zstddec');
    };
  }
  return (payload, size) => {
    try {
      return buffer(decoder.decode(payload, size)); // with an error, it has another length
    } catch {
      return null;
    }
  };
}

// --- the protobuf message AggregatedRecord ---

class MalformedError extends Error {}

/** The fields of a message, one after the other. */
class Message {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = this.start = this.number = this.type = this.varint = 0;
  }

  /** Goes to the next field. Returns false at the end. */
  next() {
    if (this.at === this.bytes.length) return false;
    const tag = this.readVarint();
    this.number = Math.floor(tag / 8);
    this.type = tag % 8;
    if (this.number === 0) throw new MalformedError();
    if (this.type === 0) this.varint = this.readVarint();
    else if (this.type === 2) this.skip(this.readVarint());
    else if (this.type === 1) this.skip(8);
    else if (this.type === 5) this.skip(4);
    else throw new MalformedError();
    return true;
  }

  isVarint(number) {
    return this.number === number && this.type === 0;
  }

  isText(number) {
    return this.number === number && this.type === 2;
  }

  /** The bytes of the current field: a string, bytes or message. */
  content() {
    return this.bytes.subarray(this.start, this.at);
  }

  text() {
    return this.bytes.toString('utf8', this.start, this.at);
  }

  skip(size) {
    if (size > this.bytes.length - this.at) throw new MalformedError();
    this.start = this.at;
    this.at += size;
  }

  /** Beyond 2 ** 53 the number is not exact, and larger than every size and index. */
  readVarint() {
    let value = 0;
    for (let factor = 1; factor < 2 ** 70; factor *= 128) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw new MalformedError();
  }
}

/** Returns the user records, or null if the message is malformed. */
function userRecords(message, maxRecords) {
  const keys = [];
  const hashKeys = [];
  const records = [];
  let headers = 0;
  try {
    for (const field = new Message(message); field.next(); ) {
      if (field.isText(1)) keys.push(field.text());
      else if (field.isText(2)) hashKeys.push(field.text());
      else if (field.isText(3)) headers += records[records.push(readRecord(field.content())) - 1].tags;
      if (Math.max(keys.length, hashKeys.length, records.length, headers / 4) > maxRecords) {
        throw new DeaggregationError('TOO_MANY_RECORDS', `more than ${maxRecords} user records in a Kinesis record`);
      }
    }
  } catch (error) {
    if (error instanceof MalformedError) return null;
    throw error;
  }
  // As in the KCL, a record with a key that is not in the table, and all records after it, are lost.
  const isLost = ({ key, hashKey }) => key >= keys.length || (hashKey !== null && hashKey >= hashKeys.length);
  const lost = records.findIndex(isLost);
  return records.slice(0, lost < 0 ? records.length : lost).map(({ data, key, hashKey, headers }) => ({
    data,
    partitionKey: keys[key],
    explicitHashKey: hashKey === null ? null : hashKeys[hashKey],
    headers,
  }));
}

function readRecord(message) {
  const record = { data: null, key: null, hashKey: null, headers: null, tags: 0 };
  for (const field = new Message(message); field.next(); ) {
    if (field.isVarint(1)) record.key = field.varint;
    else if (field.isVarint(2)) record.hashKey = field.varint;
    else if (field.isText(3)) record.data = field.content();
    else if (field.isText(4)) addHeader(record, field.content());
  }
  if (record.key === null || record.data === null) throw new MalformedError();
  return record;
}

/** The last of several tags with the same key counts. */
function addHeader(record, tag) {
  let key = null;
  let header = null;
  for (const field = new Message(tag); field.next(); ) {
    if (field.isText(1)) key = field.text();
    else if (field.isText(2)) header = field.text();
  }
  if (key === null) throw new MalformedError();
  record.headers ??= Object.create(null); // "__proto__" is a header like others
  record.headers[key] = header;
  record.tags++;
}
