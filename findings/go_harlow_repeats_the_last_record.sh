#!/usr/bin/env bash
# harlow/kinesis-consumer with WithAggregation(true) delivers the last record of each answer, once for every record in it.
#
# The option is for streams that a KPL writes. With it every record of a GetRecords answer turns into that answer's
# last one, plain ones too, without an error, and the checkpoint moves past those that were never handed out.
# Guess: three plain records come out as themselves; only aggregates are changed.
# Seen (v0.3.6-0.20240916192723-43900507c911, Go 1.26): [first second third] came out as [third third third].
# Exits 0 while it behaves so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	consumer "github.com/harlow/kinesis-consumer"
)

// stream answers one shard of three plain records, in one answer, and then its end.
type stream struct{}

func (stream) GetRecords(context.Context, *kinesis.GetRecordsInput, ...func(*kinesis.Options)) (*kinesis.GetRecordsOutput, error) {
	answer := &kinesis.GetRecordsOutput{MillisBehindLatest: aws.Int64(0)}
	for number, data := range []string{"first", "second", "third"} {
		answer.Records = append(answer.Records, types.Record{
			Data: []byte(data), PartitionKey: aws.String("key"), SequenceNumber: aws.String(fmt.Sprint(number + 1))})
	}
	return answer, nil
}

func (stream) ListShards(context.Context, *kinesis.ListShardsInput, ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error) {
	return &kinesis.ListShardsOutput{Shards: []types.Shard{{ShardId: aws.String("shardId-000000000000")}}}, nil
}

func (stream) GetShardIterator(context.Context, *kinesis.GetShardIteratorInput, ...func(*kinesis.Options)) (*kinesis.GetShardIteratorOutput, error) {
	return &kinesis.GetShardIteratorOutput{ShardIterator: aws.String("iterator")}, nil
}

func read(aggregation bool) string {
	reader, err := consumer.New("orders", consumer.WithClient(stream{}), consumer.WithAggregation(aggregation))
	if err != nil {
		panic(err)
	}
	var got []string
	err = reader.ScanShard(context.Background(), "shardId-000000000000", func(record *consumer.Record) error {
		got = append(got, string(record.Data))
		return nil
	})
	if err != nil {
		panic(err)
	}
	fmt.Printf("WithAggregation(%v): %v\n", aggregation, got)
	return fmt.Sprint(got)
}

func main() {
	if read(false) != "[first second third]" || read(true) != "[third third third]" {
		os.Exit(1)
	}
}
GO
export GOFLAGS="-modcacherw -mod=mod" GOTOOLCHAIN=local GOPATH="$work/go"
{
    go mod init example.com/try
    go get github.com/harlow/kinesis-consumer@v0.3.6-0.20240916192723-43900507c911
    go build -o try .
} > log 2>&1 || { cat log; exit 1; }
if ./try; then
    echo "as described: every record of the answer became its last"
else
    echo "harlow/kinesis-consumer behaves otherwise now"
    exit 1
fi
