package e2e

import (
	"slices"
	"strings"
	"testing"
)

// What monitoring reads off the four-letter words. Their numbers are each server's own; what is compared is which there
// are.
func TestZooKeeperWordsAreAnsweredAsZooKeeperDoes(t *testing.T) {
	theirs, ours := startZooKeeper(t), startServer(t).zk
	for _, word := range []string{"ruok", "isro"} {
		if a, b := fourLetters(t, ours, word), fourLetters(t, theirs, word); a != b {
			t.Errorf("%s\n zookeeper: %q\n   triglot: %q", word, b, a)
		}
	}
	// labels are the words in front of the values.
	labels := func(text, separator string) (list []string) {
		for line := range strings.Lines(text) {
			if label, _, ok := strings.Cut(line, separator); ok {
				list = append(list, strings.TrimSpace(label))
			}
		}
		return list
	}
	// A server's settings are its own, but for those by which a client finds it and agrees with it.
	wanted := map[string][]string{
		"srvr": labels(fourLetters(t, theirs, "srvr"), ":"),
		"conf": {"clientPort", "dataDir", "minSessionTimeout", "maxSessionTimeout", "serverId"},
	}
	for word, separator := range map[string]string{"srvr": ":", "conf": "="} {
		told := labels(fourLetters(t, ours, word), separator)
		for _, label := range wanted[word] {
			if !slices.Contains(told, label) {
				t.Errorf("%s does not tell %s, but %q", word, label, told)
			}
		}
	}
	// Of mntr's hundreds of lines, those that monitoring asks for.
	a, b := labels(fourLetters(t, ours, "mntr"), "\t"), labels(fourLetters(t, theirs, "mntr"), "\t")
	for _, label := range []string{
		"zk_version", "zk_server_state", "zk_avg_latency", "zk_max_latency", "zk_min_latency", "zk_packets_received",
		"zk_packets_sent", "zk_num_alive_connections", "zk_outstanding_requests", "zk_znode_count", "zk_watch_count",
		"zk_ephemerals_count", "zk_approximate_data_size", "zk_open_file_descriptor_count", "zk_max_file_descriptor_count",
	} {
		if slices.Contains(b, label) && !slices.Contains(a, label) {
			t.Errorf("mntr does not tell %s", label)
		}
	}
}
