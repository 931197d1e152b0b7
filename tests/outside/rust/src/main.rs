//! The AWS SDK for Rust against the local Kinesis: `cargo run STREAM`. See tests/outside/README.md.

use aws_sdk_kinesis::client::Waiters;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::put_record::PutRecordError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    ChildShard, PutRecordsRequestEntry, Record, ShardIteratorType, StartingPosition, SubscribeToShardEventStream,
};
use aws_sdk_kinesis::Client;
use std::error::Error;
use std::time::Duration;

const EVERYTHING: [&str; 4] = ["one", "two", "three", "four"];
const FIRST: &str = "shardId-000000000000";
const CHILDREN: [&str; 2] = ["shardId-000000000002", "shardId-000000000003"];

type Done<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done<()> {
    let stream = std::env::args().nth(1).ok_or("STREAM is missing")?;
    let client = Client::new(&aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await);
    client.create_stream().stream_name(&stream).shard_count(2).send().await?;
    wait(&client, &stream).await?;
    passed("create");
    put(&client, &stream).await?;
    list(&client, &stream).await?;
    let found = read(&client, &stream).await?;
    assert_eq!(texts(found.records()), EVERYTHING);
    assert!(found.next_shard_iterator().is_some());
    passed("read");
    reshard(&client, &stream).await?;
    refused(&client).await;
    subscribe(&client, &stream).await
}

fn passed(check: &str) {
    println!("ok {check}");
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|each| String::from_utf8_lossy(each.data().as_ref()).into_owned()).collect()
}

fn ids(children: &[ChildShard]) -> Vec<&str> {
    children.iter().map(|each| each.shard_id()).collect()
}

async fn wait(client: &Client, stream: &str) -> Done<()> {
    client.wait_until_stream_exists().stream_name(stream).wait(Duration::from_secs(30)).await?;
    Ok(())
}

async fn put(client: &Client, stream: &str) -> Done<()> {
    let one = client.put_record().stream_name(stream).data(Blob::new("one")).partition_key("a").explicit_hash_key("0");
    assert_eq!(one.send().await?.shard_id(), FIRST);
    passed("put record");
    let mut request = client.put_records().stream_name(stream);
    for each in &EVERYTHING[1..] {
        let entry = PutRecordsRequestEntry::builder().data(Blob::new(*each)).partition_key("b").explicit_hash_key("1");
        request = request.records(entry.build()?);
    }
    assert_eq!(request.send().await?.failed_record_count(), Some(0));
    passed("put records");
    Ok(())
}

async fn list(client: &Client, stream: &str) -> Done<()> {
    let page = client.list_shards().stream_name(stream).max_results(1).send().await?;
    let rest = client.list_shards().next_token(page.next_token().ok_or("no token")?).send().await?;
    let found: Vec<_> = page.shards().iter().chain(rest.shards()).map(|each| each.shard_id()).collect();
    assert_eq!(found, [FIRST, "shardId-000000000001"]);
    passed("list shards");
    Ok(())
}

async fn read(client: &Client, stream: &str) -> Done<GetRecordsOutput> {
    let position = client.get_shard_iterator().stream_name(stream).shard_id(FIRST);
    let iterator = position.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await?;
    let iterator = iterator.shard_iterator().ok_or("no iterator")?;
    Ok(client.get_records().shard_iterator(iterator).send().await?)
}

async fn reshard(client: &Client, stream: &str) -> Done<()> {
    let middle = (1u128 << 126).to_string();
    client.split_shard().stream_name(stream).shard_to_split(FIRST).new_starting_hash_key(middle).send().await?;
    wait(client, stream).await?;
    passed("split");
    let merge = client.merge_shards().stream_name(stream).shard_to_merge(CHILDREN[0]);
    merge.adjacent_shard_to_merge(CHILDREN[1]).send().await?;
    wait(client, stream).await?;
    let listed = client.list_shards().stream_name(stream).send().await?;
    let merged = listed.shards().last().ok_or("no shards")?;
    assert_eq!([merged.parent_shard_id(), merged.adjacent_parent_shard_id()], CHILDREN.map(Some));
    passed("merge");
    let closed = read(client, stream).await?;
    assert!(closed.next_shard_iterator().is_none());
    assert_eq!(ids(closed.child_shards()), CHILDREN);
    passed("closed shard");
    Ok(())
}

async fn refused(client: &Client) {
    let request = client.put_record().stream_name("none").data(Blob::new("x")).partition_key("a");
    match request.send().await.expect_err("there is no such stream").into_service_error() {
        PutRecordError::ResourceNotFoundException(missing) => assert!(missing.to_string().contains("none")),
        other => panic!("{other:?}"),
    }
    passed("typed error");
}

async fn subscribe(client: &Client, stream: &str) -> Done<()> {
    let summary = client.describe_stream_summary().stream_name(stream).send().await?;
    let arn = summary.stream_description_summary().ok_or("no summary")?.stream_arn();
    let registered = client.register_stream_consumer().stream_arn(arn).consumer_name("rust").send().await?;
    let consumer = registered.consumer().ok_or("no consumer")?.consumer_arn();
    let position = StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon).build()?;
    let request = client.subscribe_to_shard().consumer_arn(consumer).shard_id(FIRST).starting_position(position);
    let mut events = request.send().await?.event_stream;
    let (mut found, mut ends) = (Vec::new(), Vec::new());
    while let Some(event) = events.recv().await? {
        if let SubscribeToShardEventStream::SubscribeToShardEvent(event) = event {
            found.extend(texts(event.records()));
            ends.extend(ids(event.child_shards()).into_iter().map(String::from));
        }
    }
    assert_eq!(found, EVERYTHING);
    assert_eq!(ends, CHILDREN);
    passed("fan-out");
    Ok(())
}
