package compose_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/orderflow/orderflow/test/child"
)

const observability = "config/observability"

// brokers are the metrics of Redpanda's /public_metrics that are used.
var brokers = []string{
	"redpanda_kafka_consumer_group_committed_offset",
	"redpanda_kafka_max_offset",
}

// series finds names of metrics in PromQL: words that are no label, function or keyword. All of
// ours, and those of the host that are used, have one of these beginnings.
var series = regexp.MustCompile(`\b(orderflow|redpanda|input|output|processor|batch|kafka)_[a-z0-9_]+\b`)

func TestPrometheusScrapesTheServices(t *testing.T) {
	var config struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal(read(t, observability, "prometheus.yml"), &config))
	project := load(t)

	mounted := map[string]string{}
	for _, volume := range project.Services["prometheus"].Volumes {
		mounted[volume.Target] = volume.Source
	}
	require.Equal(t, filepath.Join(child.Root(t), observability, "prometheus.yml"), mounted["/etc/prometheus/prometheus.yml"])
	require.NotEmpty(t, config.RuleFiles)
	for _, rules := range config.RuleFiles {
		require.Equal(t, filepath.Join(child.Root(t), observability, rules), mounted[path.Join("/etc/prometheus", rules)])
	}

	scraped := map[string]string{}
	for _, scrape := range config.ScrapeConfigs {
		for _, static := range scrape.StaticConfigs {
			for _, target := range static.Targets {
				host, port, _ := strings.Cut(target, ":")
				require.Contains(t, project.Services, host)
				scraped[host] = port
			}
		}
	}
	for name := range pipelines(project) {
		_, port, _ := strings.Cut(*project.Services[name].Environment["HTTP_ADDRESS"], ":")
		require.Equal(t, port, scraped[name], name)
	}
}

func TestGrafanaFindsWhatIsProvisioned(t *testing.T) {
	var datasources struct {
		Datasources []struct{ UID, URL string }
	}
	require.NoError(t, yaml.Unmarshal(read(t, observability, "grafana/provisioning/datasources/prometheus.yaml"), &datasources))
	require.Len(t, datasources.Datasources, 1)
	require.Equal(t, datasourceUID, datasources.Datasources[0].UID)
	require.Equal(t, "http://prometheus:9090", datasources.Datasources[0].URL)

	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	require.NoError(t, yaml.Unmarshal(read(t, observability, "grafana/provisioning/dashboards/orderflow.yaml"), &providers))
	require.Len(t, providers.Providers, 1)
	grafana := load(t).Services["grafana"]
	dashboards := ""
	for _, volume := range grafana.Volumes {
		if volume.Target == providers.Providers[0].Options.Path {
			dashboards = volume.Source
		}
	}
	home := *grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	require.Equal(t, providers.Providers[0].Options.Path, path.Dir(home))
	require.FileExists(t, filepath.Join(dashboards, path.Base(home)))
}

const datasourceUID = "prometheus"

// panel is what the tests need of one.
type panel struct {
	title string
	exprs []string
}

// panels reads a dashboard with Grafana's own types, which know every field.
func panels(t *testing.T, file string) []panel {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	var d dashboard.Dashboard
	require.NoError(t, d.UnmarshalJSONStrict(raw), file)
	require.NoError(t, d.Validate(), file)

	var all []panel
	ids := map[uint32]string{}
	for _, entry := range d.Panels {
		if entry.Panel == nil {
			continue // a row
		}
		p := panel{title: *entry.Panel.Title}
		require.NotContains(t, ids, *entry.Panel.Id, "%s and %s have one id", p.title, ids[*entry.Panel.Id])
		ids[*entry.Panel.Id] = p.title
		require.NotNil(t, entry.Panel.Description, p.title)
		require.Equal(t, datasourceUID, *entry.Panel.Datasource.Uid, p.title)
		for _, target := range entry.Panel.Targets {
			query, ok := target.(prometheus.Dataquery)
			if !ok {
				pointer, isPointer := target.(*prometheus.Dataquery)
				require.True(t, isPointer, "%s: target is a %T", p.title, target)
				query = *pointer
			}
			p.exprs = append(p.exprs, query.Expr)
		}
		require.NotEmpty(t, p.exprs, p.title)
		all = append(all, p)
	}
	return all
}

func TestDashboardsAndAlertsUseMetricsThatExist(t *testing.T) {
	made := metrics(t)
	check := func(where, expr string) {
		t.Helper()
		found := series.FindAllString(expr, -1)
		require.NotEmpty(t, found, "%s: no metric in %s", where, expr)
		for _, name := range found {
			if slices.Contains(brokers, name) || strings.HasPrefix(name, "redpanda_") && slices.Contains(brokerLabels, name) {
				continue
			}
			_, asIs := made[name]
			_, ofTimer := made[exported(name)]
			require.True(t, asIs || ofTimer, "%s uses %s, which no pipeline makes", where, name)
		}
	}

	files, err := filepath.Glob(filepath.Join(child.Root(t), observability, "grafana/dashboards/*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		for _, p := range panels(t, file) {
			for _, expr := range p.exprs {
				check(fmt.Sprintf("%s: panel %q", filepath.Base(file), p.title), expr)
			}
		}
	}
	for _, rule := range alerts(t) {
		if !strings.HasPrefix(rule.Expr, "up") {
			check("alert "+rule.Alert, rule.Expr)
		}
	}
}

// brokerLabels are labels of Redpanda's metrics, which look like metrics.
var brokerLabels = []string{"redpanda_group", "redpanda_topic", "redpanda_partition", "redpanda_namespace"}

type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	require.NoError(t, yaml.Unmarshal(read(t, observability, "alerts.yml"), &file))
	var all []alert
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

func TestAlertsSayWhatToDo(t *testing.T) {
	require.NotEmpty(t, alerts(t))
	for _, rule := range alerts(t) {
		require.NotEmpty(t, rule.Labels["severity"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["description"], rule.Alert)
	}
}

func TestTheDashboardShowsWhatAnOperatorAsksFor(t *testing.T) {
	var titles []string
	for _, p := range panels(t, filepath.Join(child.Root(t), observability, "grafana/dashboards/orderflow.json")) {
		titles = append(titles, p.title)
	}
	require.Subset(t, titles, []string{
		"Success rate", "Orders per second", "Retries by number", "Waiting orders", "Dead letters by code",
		"Delivery latency", "Average price", "Average price by product", "Revenue", "Consumer lag", "Outages",
	})
}
