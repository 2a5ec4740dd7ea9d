package deadletter

import "time"

var nativeColumns = []column{
	text(HeaderID, "", func(l *Letter) *string { return &l.ID }),
	text(HeaderClass, "", func(l *Letter) *string { return &l.Class }),
	text(HeaderCode, "", func(l *Letter) *string { return &l.Code }),
	text(HeaderError, "", errorOf),
	text(HeaderStage, "", stageOf),
	number(HeaderAttempts, "", maxSmall, attemptsOf),
	{
		name:  HeaderAttemptTimes,
		write: func(l *Letter) (string, bool) { return formatTimes(l.AttemptTimes), len(l.AttemptTimes) > 0 },
		read:  func(l *Letter, value string) { l.AttemptTimes = parseTimes(value) },
	},
	moment(HeaderFirstFailedAt, "", func(l *Letter) *time.Time { return &l.FirstFailedAt }),
	moment(HeaderLastFailedAt, "", func(l *Letter) *time.Time { return &l.LastFailedAt }),
	text(HeaderTopic, "", topicOf),
	number(HeaderPartition, "", maxSmall, partitionOf),
	number(HeaderOffset, "", maxLarge, offsetOf),
	{
		name:  HeaderTimestamp,
		write: func(l *Letter) (string, bool) { return formatTime(l.Timestamp), !stamp(l.Timestamp).IsZero() },
		read:  func(l *Letter, value string) { l.Timestamp = stamp(parseTime(value)) },
	},
	text(HeaderGroup, "", groupOf),
	number(HeaderRedrives, "", maxSmall, func(l *Letter) *int { return &l.Redrives }),
}
