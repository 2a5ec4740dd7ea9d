package topics

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Outcome says what became of a topic.
type Outcome struct {
	Topic Topic
	// Created is false for a topic that exists already.
	Created bool
	// Differences lists how an existing topic is not as it should be.
	Differences []Difference
	// Err says why the topic could not be made or compared.
	Err error
}

// Difference is a property of an existing topic that is not as listed.
type Difference struct {
	Property, Is, Listed string
}

// Create makes the topics that do not exist and compares those that do. It changes nothing that
// exists. The error joins those of single topics; the others are dealt with all the same.
func Create(ctx context.Context, admin *kadm.Client, topics []Topic) ([]Outcome, error) {
	outcomes := make([]Outcome, 0, len(topics))
	var errs []error
	for _, topic := range topics {
		o := Outcome{Topic: topic}
		o.Created, o.Err = create(ctx, admin, topic)
		if !o.Created && o.Err == nil {
			o.Differences, o.Err = compareOnceKnown(ctx, admin, topic)
		}
		if o.Err != nil {
			errs = append(errs, o.Err)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, errors.Join(errs...)
}

func create(ctx context.Context, admin *kadm.Client, topic Topic) (bool, error) {
	configs := make(map[string]*string, len(topic.Configs))
	for name, value := range topic.Configs {
		configs[name] = &value
	}
	res, err := admin.CreateTopic(ctx, topic.Partitions, topic.ReplicationFactor, configs, topic.Name)
	// To ask whether it exists first would leave a moment in which somebody else can make it.
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("topic %s: %w", topic.Name, err)
		if res.ErrMessage != "" {
			err = fmt.Errorf("%w: %s", err, res.ErrMessage)
		}
	}
	return err == nil, err
}

// knownAgain is how long to wait before a topic is looked for again.
const knownAgain = 100 * time.Millisecond

// compareOnceKnown compares a topic that exists. Somebody may have made it this moment: then the
// broker that is asked hears of it a little later than the one that made it.
func compareOnceKnown(ctx context.Context, admin *kadm.Client, topic Topic) ([]Difference, error) {
	for {
		differences, err := compare(ctx, admin, topic)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.LeaderNotAvailable) {
			return differences, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(knownAgain):
		}
	}
}

func compare(ctx context.Context, admin *kadm.Client, topic Topic) ([]Difference, error) {
	details, err := admin.ListTopics(ctx, topic.Name)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("topic %s: comparing: %w", topic.Name, err)
	}
	described, err := admin.DescribeTopicConfigs(ctx, topic.Name)
	if err != nil {
		return nil, fmt.Errorf("topic %s: comparing configs: %w", topic.Name, err)
	}
	resource, err := described.On(topic.Name, nil)
	if err == nil {
		err = resource.Err
	}
	if err != nil {
		return nil, fmt.Errorf("topic %s: comparing configs: %w", topic.Name, err)
	}
	configs := map[string]string{}
	for _, c := range resource.Configs {
		configs[c.Key] = c.MaybeValue()
	}
	partitions := details[topic.Name].Partitions
	return differences(topic, int32(len(partitions)), int16(partitions.NumReplicas()), configs), nil
}

// differences compares a topic with what the broker has. A config that the broker does not
// report is one that it does not know, and no difference.
func differences(want Topic, partitions int32, replicas int16, configs map[string]string) []Difference {
	var all []Difference
	if want.Partitions != -1 && want.Partitions != partitions {
		all = append(all, Difference{"partitions", strconv.Itoa(int(partitions)), strconv.Itoa(int(want.Partitions))})
	}
	if want.ReplicationFactor != -1 && want.ReplicationFactor != replicas {
		all = append(all, Difference{"replication_factor", strconv.Itoa(int(replicas)), strconv.Itoa(int(want.ReplicationFactor))})
	}
	for _, name := range slices.Sorted(maps.Keys(want.Configs)) {
		is, known := configs[name]
		if known && !sameValue(is, want.Configs[name]) {
			all = append(all, Difference{name, is, want.Configs[name]})
		}
	}
	return all
}

// sameValue compares two values of a config: numbers by value, lists without regard to order.
func sameValue(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX == nil && errY == nil {
		return x == y
	}
	list := func(s string) []string {
		parts := strings.Split(s, ",")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		slices.Sort(parts)
		return parts
	}
	return slices.Equal(list(a), list(b))
}
