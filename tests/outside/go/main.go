// aws-sdk-go-v2 against the local Kinesis: `go run . STREAM`. See tests/outside/README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

const first, left, right = "shardId-000000000000", "shardId-000000000002", "shardId-000000000003"

var everything = []string{"one", "two", "three", "four"}

type program struct {
	ctx    context.Context
	client *kinesis.Client
	stream *string
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	loaded := must(config.LoadDefaultConfig(ctx))
	p := program{ctx, kinesis.NewFromConfig(loaded), aws.String(os.Args[1])}
	p.create()
	p.put()
	p.list()
	p.check("read", everything, p.read().Records, true)
	p.reshard()
	p.refused()
	p.subscribe()
}

func must[T any](value T, err error) T {
	if err != nil {
		fail(err)
	}
	return value
}

func fail(problem any) {
	fmt.Fprintln(os.Stderr, problem)
	os.Exit(1)
}

func expect(check string, wanted, found any) {
	if !reflect.DeepEqual(wanted, found) {
		fail(fmt.Sprintf("%s: wanted %v, found %v", check, wanted, found))
	}
}

func passed(check string) { fmt.Println("ok " + check) }

func (p program) check(check string, wanted []string, records []types.Record, last bool) {
	found := []string{}
	for _, each := range records {
		found = append(found, string(each.Data))
	}
	expect(check, wanted, found)
	if last {
		passed(check)
	}
}

func (p program) wait() {
	waiter := kinesis.NewStreamExistsWaiter(p.client, func(options *kinesis.StreamExistsWaiterOptions) {
		options.MinDelay = time.Second
	})
	if err := waiter.Wait(p.ctx, &kinesis.DescribeStreamInput{StreamName: p.stream}, 20*time.Second); err != nil {
		fail(err)
	}
}

func (p program) create() {
	must(p.client.CreateStream(p.ctx, &kinesis.CreateStreamInput{StreamName: p.stream, ShardCount: aws.Int32(2)}))
	p.wait()
	passed("create")
}

func (p program) put() {
	one := must(p.client.PutRecord(p.ctx, &kinesis.PutRecordInput{
		StreamName: p.stream, Data: []byte("one"), PartitionKey: aws.String("a"), ExplicitHashKey: aws.String("0"),
	}))
	expect("put record", first, *one.ShardId)
	passed("put record")
	entries := []types.PutRecordsRequestEntry{}
	for _, each := range everything[1:] {
		entries = append(entries, types.PutRecordsRequestEntry{
			Data: []byte(each), PartitionKey: aws.String("b"), ExplicitHashKey: aws.String("1"),
		})
	}
	answer := must(p.client.PutRecords(p.ctx, &kinesis.PutRecordsInput{StreamName: p.stream, Records: entries}))
	expect("put records", int32(0), *answer.FailedRecordCount)
	passed("put records")
}

func (p program) list() {
	page := must(p.client.ListShards(p.ctx, &kinesis.ListShardsInput{StreamName: p.stream, MaxResults: aws.Int32(1)}))
	rest := must(p.client.ListShards(p.ctx, &kinesis.ListShardsInput{NextToken: page.NextToken}))
	expect("list shards", []string{first, "shardId-000000000001"}, []string{*page.Shards[0].ShardId, *rest.Shards[0].ShardId})
	passed("list shards")
}

func (p program) read() *kinesis.GetRecordsOutput {
	iterator := must(p.client.GetShardIterator(p.ctx, &kinesis.GetShardIteratorInput{
		StreamName: p.stream, ShardId: aws.String(first), ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	}))
	return must(p.client.GetRecords(p.ctx, &kinesis.GetRecordsInput{ShardIterator: iterator.ShardIterator}))
}

func (p program) reshard() {
	must(p.client.SplitShard(p.ctx, &kinesis.SplitShardInput{
		StreamName: p.stream, ShardToSplit: aws.String(first),
		NewStartingHashKey: aws.String("85070591730234615865843651857942052864"),
	}))
	p.wait()
	passed("split")
	must(p.client.MergeShards(p.ctx, &kinesis.MergeShardsInput{
		StreamName: p.stream, ShardToMerge: aws.String(left), AdjacentShardToMerge: aws.String(right),
	}))
	p.wait()
	shards := must(p.client.ListShards(p.ctx, &kinesis.ListShardsInput{StreamName: p.stream})).Shards
	merged := shards[len(shards)-1]
	expect("merge", []string{left, right}, []string{*merged.ParentShardId, *merged.AdjacentParentShardId})
	passed("merge")
	closed := p.read()
	if closed.NextShardIterator != nil {
		fail("a closed shard has a next iterator")
	}
	expect("closed shard", []string{left, right}, children(closed.ChildShards))
	passed("closed shard")
}

func children(shards []types.ChildShard) []string {
	found := []string{}
	for _, each := range shards {
		found = append(found, *each.ShardId)
	}
	return found
}

func (p program) refused() {
	_, err := p.client.PutRecord(p.ctx, &kinesis.PutRecordInput{
		StreamName: aws.String("none"), Data: []byte("x"), PartitionKey: aws.String("a"),
	})
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) || !strings.Contains(missing.ErrorMessage(), "none") {
		fail(err)
	}
	passed("typed error")
}

func (p program) subscribe() {
	summary := must(p.client.DescribeStreamSummary(p.ctx, &kinesis.DescribeStreamSummaryInput{StreamName: p.stream}))
	registered := must(p.client.RegisterStreamConsumer(p.ctx, &kinesis.RegisterStreamConsumerInput{
		StreamARN: summary.StreamDescriptionSummary.StreamARN, ConsumerName: aws.String("go"),
	}))
	subscription := must(p.client.SubscribeToShard(p.ctx, &kinesis.SubscribeToShardInput{
		ConsumerARN: registered.Consumer.ConsumerARN, ShardId: aws.String(first),
		StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon},
	})).GetStream()
	defer subscription.Close()
	records, ends := []types.Record{}, []string{}
	for each := range subscription.Events() {
		event := each.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
		records = append(records, event.Records...)
		ends = append(ends, children(event.ChildShards)...)
	}
	if err := subscription.Err(); err != nil {
		fail(err)
	}
	p.check("fan-out", everything, records, false)
	expect("fan-out", []string{left, right}, ends)
	passed("fan-out")
}
