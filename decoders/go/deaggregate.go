// Package kplpy reads what kplpy writes into a Kinesis stream: aggregates in the KPL's format, compressed batches and
// plain records. docs/format.md describes the formats.
package kplpy

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A UserRecord is one record as the producer put it.
type UserRecord struct {
	Data []byte
	// PartitionKey is empty for a plain record: the Kinesis record has the key.
	PartitionKey string
	// ExplicitHashKey is a decimal number of up to 128 bits, or empty.
	ExplicitHashKey string
	// Headers is nil for a record without headers. A header may have no value: nil.
	Headers map[string]*string
	// SubSequenceNumber is the record's position in the Kinesis record, from 0.
	SubSequenceNumber int
	// Aggregated is false for a plain record.
	Aggregated bool
}

// Limits bound what is taken out of one Kinesis record. Zero means the default.
type Limits struct {
	MaxUncompressed uint64 // bytes; 16 MiB by default
	MaxRecords      int    // user records, and a fourth of the headers; 262,144 by default
}

var (
	// ErrTooLarge reports a compressed batch of more than MaxUncompressed bytes.
	ErrTooLarge = errors.New("the compressed batch is too large")
	// ErrTooManyRecords reports more than MaxRecords user records.
	ErrTooManyRecords = errors.New("the Kinesis record has too many user records")
	// ErrUnreadable reports a version or codec of a later kplpy.
	ErrUnreadable = errors.New("the compressed batch is of a later version")
)

const (
	defaultMaxUncompressed = 16 << 20
	defaultMaxRecords      = 1 << 18
	usualWindow            = 8 << 20 // every zstd decoder should take a window of 8 MiB (RFC 8878, 3.1.1.1.2)
)

var (
	aggregateMagic = []byte{0xF3, 0x89, 0x9A, 0xC2}
	batchMagic     = []byte{0xCB, 'k', 'p', 'b'}
	errMalformed   = errors.New("malformed message")
)

// Deaggregate returns the user records in the data of one Kinesis record. A plain record gives one user record.
//
// Damaged data is one plain record, as for the KCL. The errors wrap ErrTooLarge, ErrTooManyRecords or ErrUnreadable;
// no record is returned with an error. Returned data may share memory with the argument.
func Deaggregate(data []byte, limits Limits) ([]UserRecord, error) {
	if limits.MaxUncompressed == 0 {
		limits.MaxUncompressed = defaultMaxUncompressed
	}
	if limits.MaxRecords == 0 {
		limits.MaxRecords = defaultMaxRecords
	}
	plain := []UserRecord{{Data: data}}
	message, isBatch := aggregateMessage(data), false
	if message == nil {
		var err error
		if message, err = batchMessage(data, limits.MaxUncompressed); err != nil {
			return nil, err
		}
		isBatch = true
	}
	if message == nil {
		return plain, nil
	}
	records, err := userRecords(message, limits.MaxRecords)
	if errors.Is(err, errMalformed) || (err == nil && isBatch && len(records) == 0) {
		return plain, nil
	}
	return records, err
}

func aggregateMessage(data []byte) []byte {
	end := len(data) - md5.Size
	if end <= len(aggregateMagic) || !bytes.HasPrefix(data, aggregateMagic) {
		return nil
	}
	message := data[len(aggregateMagic):end]
	if digest := md5.Sum(message); !bytes.Equal(digest[:], data[end:]) {
		return nil
	}
	return message
}

// batchMessage returns the message in a compressed batch, or nil for data that is none.
func batchMessage(data []byte, limit uint64) ([]byte, error) {
	if len(data) < 11 || !bytes.HasPrefix(data, batchMagic) {
		return nil, nil
	}
	version, codec, crc := data[4], data[5], binary.BigEndian.Uint32(data[6:])
	size, width := binary.Uvarint(data[10:min(len(data), 15)])
	if width <= 0 {
		return nil, nil
	}
	if version != 1 || codec > 2 {
		return nil, fmt.Errorf("%w: version %d, codec %d", ErrUnreadable, version, codec)
	}
	if size > limit {
		return nil, fmt.Errorf("%w: %d bytes uncompressed, the limit is %d", ErrTooLarge, size, limit)
	}
	message := decompress(data[10+width:], codec, size)
	if uint64(len(message)) != size || crc32.ChecksumIEEE(message) != crc {
		return nil, nil
	}
	return message, nil
}

// decompress returns up to size+1 bytes, so that longer content is seen. It returns nil for damaged content.
func decompress(payload []byte, codec byte, size uint64) []byte {
	var reader io.Reader
	switch codec {
	case 0:
		return payload
	case 1:
		member, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil
		}
		member.Multistream(false)
		reader = member
	case 2:
		frame, err := zstd.NewReader(bytes.NewReader(payload), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(max(size, usualWindow)))
		if err != nil {
			return nil
		}
		defer frame.Close()
		reader = frame
	}
	message := bytes.NewBuffer(make([]byte, 0, min(size, defaultMaxUncompressed)+bytes.MinRead))
	if _, err := io.Copy(message, io.LimitReader(reader, int64(size)+1)); err != nil {
		return nil
	}
	return message.Bytes()
}

// A field of a protobuf message: number holds a varint, bytes a string, bytes or message.
type field struct {
	number int
	isText bool
	varint uint64
	bytes  []byte
}

// fields calls visit for each varint and each length-delimited field. It skips fields of other types.
func fields(message []byte, visit func(field) error) error {
	for len(message) > 0 {
		tag, width := binary.Uvarint(message)
		if width <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return errMalformed
		}
		message = message[width:]
		found := field{number: int(tag >> 3)}
		skip := uint64(0)
		switch tag & 7 {
		case 0, 2:
			value, width := binary.Uvarint(message)
			if width <= 0 {
				return errMalformed
			}
			message = message[width:]
			found.varint = value
			if found.isText = tag&7 == 2; found.isText {
				skip = value
			}
		case 1:
			skip = 8
		case 5:
			skip = 4
		default:
			return errMalformed
		}
		if skip > uint64(len(message)) {
			return errMalformed
		}
		found.bytes, message = message[:skip], message[skip:]
		if tag&7 == 0 || found.isText {
			if err := visit(found); err != nil {
				return err
			}
		}
	}
	return nil
}

type innerRecord struct {
	key, hashKey             uint64
	hasKey, hasHash, hasData bool
	data                     []byte
	headers                  map[string]*string
	tags                     int
}

// userRecords returns the records of an AggregatedRecord. As in the KCL, a record with a key that is not in the
// table, and all records after it, are lost.
func userRecords(message []byte, limit int) ([]UserRecord, error) {
	var keys, hashKeys []string
	var inner []innerRecord
	headers := 0
	err := fields(message, func(found field) error {
		if !found.isText || found.number > 3 {
			return nil
		}
		switch found.number {
		case 1:
			keys = append(keys, string(found.bytes))
		case 2:
			hashKeys = append(hashKeys, string(found.bytes))
		case 3:
			record, err := readRecord(found.bytes)
			if err != nil {
				return err
			}
			inner = append(inner, record)
			headers += record.tags
		}
		if max(len(keys), len(hashKeys), len(inner), (headers+3)/4) > limit {
			return fmt.Errorf("%w: more than %d", ErrTooManyRecords, limit)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	records := make([]UserRecord, 0, len(inner))
	for number, each := range inner {
		if each.key >= uint64(len(keys)) || (each.hasHash && each.hashKey >= uint64(len(hashKeys))) {
			break
		}
		record := UserRecord{Data: each.data, PartitionKey: keys[each.key], Headers: each.headers,
			SubSequenceNumber: number, Aggregated: true}
		if each.hasHash {
			record.ExplicitHashKey = hashKeys[each.hashKey]
		}
		records = append(records, record)
	}
	return records, nil
}

func readRecord(message []byte) (record innerRecord, err error) {
	err = fields(message, func(found field) error {
		switch {
		case found.number == 1 && !found.isText:
			record.key, record.hasKey = found.varint, true
		case found.number == 2 && !found.isText:
			record.hashKey, record.hasHash = found.varint, true
		case found.number == 3 && found.isText:
			record.data, record.hasData = found.bytes, true
		case found.number == 4 && found.isText:
			return readTag(found.bytes, &record)
		}
		return nil
	})
	if err == nil && !(record.hasKey && record.hasData) {
		err = errMalformed
	}
	return record, err
}

// readTag adds a header. The last of several tags with the same key counts.
func readTag(message []byte, record *innerRecord) error {
	var key, value *string
	err := fields(message, func(found field) error {
		text := string(found.bytes)
		switch {
		case found.number == 1 && found.isText:
			key = &text
		case found.number == 2 && found.isText:
			value = &text
		}
		return nil
	})
	if err != nil || key == nil {
		return errMalformed
	}
	if record.headers == nil {
		record.headers = map[string]*string{}
	}
	record.headers[*key] = value
	record.tags++
	return nil
}
