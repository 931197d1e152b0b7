package kplpy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"testing"
)

type vector struct {
	Name            string          `json:"name"`
	Kind            string          `json:"kind"`
	Data            json.RawMessage `json:"data"`
	MaxUncompressed uint64          `json:"max_uncompressed"`
	MaxRecords      int             `json:"max_records"`
	Error           string          `json:"error"`
	Count           int             `json:"count"`
	Digest          string          `json:"digest"`
	Records         []struct {
		Data            json.RawMessage    `json:"data"`
		PartitionKey    string             `json:"partition_key"`
		ExplicitHashKey string             `json:"explicit_hash_key"`
		Headers         map[string]*string `json:"headers"`
	} `json:"records"`
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func vectors() (found []vector) {
	file := must(os.Open("../vectors/vectors.jsonl"))
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one vector
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			panic(err)
		}
		found = append(found, one)
	}
	return found
}

func (v vector) bytes() []byte {
	var parts []json.RawMessage
	if json.Unmarshal(v.Data, &parts) != nil {
		parts = []json.RawMessage{v.Data}
	}
	var data []byte
	for _, each := range parts {
		var text string
		var rule struct {
			Repeat string `json:"repeat"`
			Size   int    `json:"size"`
		}
		if json.Unmarshal(each, &text) == nil {
			data = append(data, must(base64.StdEncoding.DecodeString(text))...)
		} else if err := json.Unmarshal(each, &rule); err != nil {
			panic(err)
		} else {
			pattern := must(base64.StdEncoding.DecodeString(rule.Repeat))
			data = append(data, bytes.Repeat(pattern, rule.Size/len(pattern)+1)[:rule.Size]...)
		}
	}
	return data
}

func isExpected(data []byte, expected json.RawMessage) bool {
	var text string
	if json.Unmarshal(expected, &text) == nil {
		return base64.StdEncoding.EncodeToString(data) == text
	}
	var large struct {
		Size   int    `json:"size"`
		Sha256 string `json:"sha256"`
	}
	if err := json.Unmarshal(expected, &large); err != nil {
		panic(err)
	}
	digest := sha256.Sum256(data)
	return len(data) == large.Size && hex.EncodeToString(digest[:]) == large.Sha256
}

func digest(records []UserRecord) string {
	whole := sha256.New()
	for _, each := range records {
		hashKey := each.ExplicitHashKey
		if hashKey == "" {
			hashKey = "-"
		}
		for _, part := range [][]byte{each.Data, []byte(each.PartitionKey), []byte(hashKey)} {
			fmt.Fprintf(whole, "%d:", len(part))
			whole.Write(part)
		}
	}
	return hex.EncodeToString(whole.Sum(nil))
}

func TestVectors(t *testing.T) {
	kinds := map[string]error{"too_large": ErrTooLarge, "too_many_records": ErrTooManyRecords, "unreadable": ErrUnreadable}
	all := vectors()
	if len(all) < 200 {
		t.Fatalf("%d vectors", len(all))
	}
	for _, each := range all {
		t.Run(each.Name, func(t *testing.T) {
			data := each.bytes()
			before := bytes.Clone(data)
			found, err := Deaggregate(data, Limits{each.MaxUncompressed, each.MaxRecords})
			if !bytes.Equal(data, before) {
				t.Error("the data was changed")
			}
			if each.Error != "" {
				if found != nil || !errors.Is(err, kinds[each.Error]) {
					t.Errorf("%d records, %v", len(found), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for number, record := range found {
				if record.SubSequenceNumber != number || record.Aggregated != (each.Kind != "plain") {
					t.Errorf("record %d: %d, %v", number, record.SubSequenceNumber, record.Aggregated)
				}
			}
			switch {
			case each.Kind == "plain":
				if !reflect.DeepEqual(found, []UserRecord{{Data: data}}) {
					t.Errorf("not plain: %d records", len(found))
				}
			case each.Digest != "":
				if len(found) != each.Count || digest(found) != each.Digest {
					t.Errorf("%d records, digest %s", len(found), digest(found))
				}
			default:
				if len(found) != len(each.Records) {
					t.Fatalf("%d records, expected %d", len(found), len(each.Records))
				}
				for number, expected := range each.Records {
					record := found[number]
					if !isExpected(record.Data, expected.Data) || record.PartitionKey != expected.PartitionKey ||
						record.ExplicitHashKey != expected.ExplicitHashKey ||
						!reflect.DeepEqual(record.Headers, expected.Headers) {
						t.Errorf("record %d: %+v", number, record)
					}
				}
			}
		})
	}
}
