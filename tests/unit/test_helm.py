"""deploy/helm/deskline: linted, rendered, every manifest valid against Kubernetes' own schemas, and true of the code."""

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml
from tests.fixtures.image import ROOT, compose
from typer.main import get_command

from deskline.settings import ServiceSettings
from deskline_archive.settings import ArchiveSettings
from deskline_router.settings import RouterSettings
from deskline_router.simulation.replay_cli import app as verify_decisions

CHART = ROOT / "deploy" / "helm" / "deskline"
CRDS = ROOT / "tests" / "schemas" / "crds"
# The newest whose schemas kubectl-validate 0.0.4 carries.
KUBERNETES = "1.30.0"
SERVICES = ("archive", "autoreply", "router", "sla")
WHOLE = {
    "topicPrefix": "blue-",
    "image": {
        "repository": "images.example/desk/deskline",
        "digest": f"sha256:{'0' * 64}",
        "pullSecrets": [{"name": "pull"}],
    },
    "kafka": {"bootstrapServers": "k1:9093,k2:9093", "caSecret": "kafka-ca"},
    "postgres": {"sslmode": "verify-full", "caSecret": "postgres-ca"},
    "settings": {"DESKLINE_ALLOWED_LATENESS_S": "2", "DESKLINE_LOG_LEVEL": "info"},
    "services": {
        "archive": {"tokensSecret": "readers"},
        "autoreply": {"desktopSecret": "desktop"},
        "router": {"tokensSecret": "desk", "image": {"tag": "1.2.3"}},
        "sla": {"settings": {"DESKLINE_LOG_LEVEL": "debug"}},
    },
    "verifyDecisions": {"claim": "decisions", "schedule": "10 2 * * *"},
    "archive": {
        "homeClaim": "archive",
        "keySecret": "seal",
        "keys": ["1.pem", "2.pem"],
        "checkpointsClaim": "checkpoints",
    },
    "jobs": {
        "configuration": [{"shop": "_default", "configMap": "shop-default"}, {"shop": "衣橱", "configMap": "shop-1"}]
    },
    "networkPolicy": {
        "desktop": [{"podSelector": {"matchLabels": {"app": "desktop"}}}],
        "kafka": {"to": [{"ipBlock": {"cidr": "10.0.0.0/16"}}]},
    },
    "monitoring": {"labels": {"release": "prometheus"}, "tokenSecret": "metrics"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "desk", "operator": "Exists"}],
    "podAnnotations": {"team": "desk"},
    "priorityClassName": "desk",
}
LEAST = {
    "kafka": {"securityProtocol": "PLAINTEXT"},
    "postgres": {"sslmode": "disable"},
    "scaling": {"enabled": False},
    "jobs": {"migrations": False, "topics": False},
    "monitoring": {"serviceMonitor": False, "prometheusRule": False},
    "networkPolicy": {"enabled": False},
}
VALUES = {"as it is": {}, "whole": WHOLE, "least": LEAST}


def tool(name):
    path = os.pathsep.join([str(ROOT / ".tools" / "bin"), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed; with Go: make chart-tools")
    return found


def helm(*words, values=None, check=True):
    # JSON is YAML; helm reads values from standard input.
    done = subprocess.run(
        [tool("helm"), *words, "--kube-version", KUBERNETES, "--values", "-"],
        input=json.dumps(values or {}), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def rendered():
    found = {}
    for name, values in VALUES.items():
        text = helm("template", "desk", CHART, "--namespace", "shop", values=values).stdout
        found[name] = [each for each in yaml.safe_load_all(text) if each]
    return found


def of(manifests, kind):
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pods(manifests):
    """Name of its controller → the pod's template."""
    found = {name: each["spec"] for kind in ("Deployment", "Job") for name, each in of(manifests, kind).items()}
    found |= {name: each["spec"]["jobTemplate"]["spec"] for name, each in of(manifests, "CronJob").items()}
    return {name: spec["template"] for name, spec in found.items()}


@pytest.mark.parametrize("name", VALUES)
def test_helm_lint_has_nothing_to_say(name):
    helm("lint", "--strict", CHART, values=VALUES[name])


@pytest.mark.timeout(300)
def test_every_manifest_is_valid(rendered, tmp_path):
    validate = tool("kubectl-validate")
    for name, manifests in rendered.items():
        for number, manifest in enumerate(manifests):
            (tmp_path / f"{name}-{number}.yaml").write_text(yaml.safe_dump(manifest, allow_unicode=True))
    words = [validate, tmp_path, "--version", ".".join(KUBERNETES.split(".")[:2]), "--local-crds", CRDS]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    for kind, wrong in (("Deployment", {"replicas": "two"}), ("ScaledObject", {"maxReplicaCountt": 1}),
                        ("ServiceMonitor", {"endpoints": 1})):  # fmt: skip
        folder = tmp_path / f"broken-{kind}"
        folder.mkdir()
        one = next(iter(of(rendered["as it is"], kind).values()))
        (folder / "one.yaml").write_text(yaml.safe_dump(one | {"spec": one["spec"] | wrong}))
        done = subprocess.run(
            [words[0], folder, *words[2:]], capture_output=True, text=True, timeout=240, check=False
        )  # fmt: skip
        assert done.returncode != 0, f"a {kind} that is wrong is found"


def test_there_is_one_of_everything_for_every_service(rendered):
    manifests = rendered["as it is"]
    names = {f"desk-deskline-{service}" for service in SERVICES}
    for kind in ("Deployment", "ScaledObject", "TriggerAuthentication", "PodDisruptionBudget", "Service"):
        assert set(of(manifests, kind)) == names, kind
    assert Counter(each["kind"] for each in rendered["least"]) == {
        "Deployment": 4, "PodDisruptionBudget": 4, "Service": 4, "ServiceAccount": 1,
    }  # fmt: skip
    assert set(of(rendered["whole"], "Job")) == {
        f"desk-deskline-{job}" for job in ("migrations", "topics", "configuration")
    }
    for budget in of(manifests, "PodDisruptionBudget").values():
        assert budget["spec"]["maxUnavailable"] == 1


def test_commands_are_those_of_compose_which_are_run_in_the_image(rendered):
    services = compose()["services"]
    own = {"topics": ["--partitions", "12"], "configuration": ["--by", "helm", "--comment", "release desk, revision 1"]}
    for name, pod in pods(rendered["whole"]).items():
        (container,) = pod["spec"]["containers"]
        component = name.removeprefix("desk-deskline-")
        if component == "verify-decisions":
            continue  # a command line of its own: below
        there = services[component]["command"]
        if component == "configuration":
            there = there[: there.index("--by")]
        assert container["args"] == [*there, *own.get(component, [])]
        assert "command" not in container, "the image's entry point"


@pytest.mark.parametrize("name", VALUES)
def test_every_variable_is_a_setting_and_no_secret_stands_in_a_manifest(rendered, name):
    known = {f"DESKLINE_{field.upper()}" for field in ServiceSettings.model_fields}
    known |= {f"DESKLINE_{field.upper()}_FILE" for field, info in ServiceSettings.model_fields.items()
              if "SecretStr" in str(info.annotation)}  # fmt: skip
    known |= {f"DESKLINE_ARCHIVE_{field.upper()}" for field in ArchiveSettings.model_fields}
    known |= {f"DESKLINE_ROUTER_{field.upper()}" for field in RouterSettings.model_fields}
    for pod in pods(rendered[name]).values():
        (container,) = pod["spec"]["containers"]
        names = [each["name"] for each in container["env"]]
        assert set(names) <= known
        assert len(set(names)) == len(names)
        mounts = [each["mountPath"] for each in container["volumeMounts"]]
        for each in container["env"]:
            value = each.get("value", "")
            if each["name"].endswith("_FILE") or value.startswith("/run/"):
                assert all(str(Path(path).parent) in mounts for path in value.split(":")), value
            if "sslrootcert=" in value:
                assert str(Path(value.partition("sslrootcert=")[2]).parent) in mounts
            assert not value.startswith("postgresql://") or ":" not in value.partition("://")[2].partition("@")[0]
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["spec"]["volumes"]}
    assert of(rendered[name], "Secret") == {}, "secrets are yours"


def test_the_desk_answers_whom_the_secret_names(rendered):
    def router(name):
        spec = pods(rendered[name])["desk-deskline-router"]["spec"]
        return spec, {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}

    spec, environment = router("whole")
    assert environment["DESKLINE_ROUTER_TOKENS"] == "/run/secrets/desk/router-tokens"
    (volume,) = [each for each in spec["volumes"] if each["name"] == "desk"]
    assert volume["secret"]["secretName"] == "desk"
    others = [name for name, pod in pods(rendered["whole"]).items() if name != "desk-deskline-router"
              and "DESKLINE_ROUTER_TOKENS" in str(pod)]  # fmt: skip
    assert others == []
    assert "DESKLINE_ROUTER_TOKENS" not in router("as it is")[1], "nobody is answered"


def test_the_archive_has_a_vault_and_readers_where_there_is_a_place_for_them(rendered):
    def archive(name):
        spec = pods(rendered[name])["desk-deskline-archive"]["spec"]
        environment = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}
        places = {each["mountPath"]: each["name"] for each in spec["containers"][0]["volumeMounts"]}
        own = {name: value for name, value in environment.items() if name.startswith("DESKLINE_ARCHIVE_")}
        return ArchiveSettings(**{name[17:].lower(): value for name, value in own.items()}), places, spec["volumes"]

    settings, places, volumes = archive("whole")
    assert str(settings.vault_file) == "/var/lib/deskline/vault"
    assert {"name": places["/var/lib/deskline"], "persistentVolumeClaim": {"claimName": "archive"}} in volumes
    assert settings.checkpoint_place == "/var/lib/deskline-checkpoints/checkpoints"
    claim = {"claimName": "checkpoints"}
    assert {"name": places["/var/lib/deskline-checkpoints"], "persistentVolumeClaim": claim} in volumes
    assert str(settings.tokens_file) == "/run/secrets/archive/archive-tokens"
    assert [str(path) for path in settings.key_files()] == ["/run/secrets/seal/1.pem", "/run/secrets/seal/2.pem"]
    settings, places, _ = archive("as it is")
    assert (settings.vault_file, settings.tokens_file, settings.key_files()) == (None, None, [])
    assert not [path for path in places if path.startswith("/var/lib")], "nothing is written where nothing stays"


def test_decisions_are_decided_again_each_night_where_there_is_a_place_for_how_far_it_came(rendered):
    assert of(rendered["as it is"], "CronJob") == {}
    (job,) = of(rendered["whole"], "CronJob").values()
    assert (job["spec"]["schedule"], job["spec"]["concurrencyPolicy"]) == ("10 2 * * *", "Forbid")
    assert job["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0, "a difference stays one"
    spec = pods(rendered["whole"])["desk-deskline-verify-decisions"]["spec"]
    (container,) = spec["containers"]
    # The command line of the systemd unit, which has another place for the state.
    unit = (ROOT / "deploy" / "systemd" / "deskline-verify-decisions.service").read_text()
    (there,) = re.findall(r"^ExecStart=/opt/deskline/bin/deskline (.*)$", unit, flags=re.MULTILINE)
    assert container["args"] == there.replace("%S/deskline-verify-decisions/", "/var/lib/deskline/").split()
    assert command_takes(container["args"])
    assert {"name": "state", "persistentVolumeClaim": {"claimName": "decisions"}} in spec["volumes"]
    assert container["image"].partition("@")[0].endswith(":1.2.3"), "the router's release"
    environment = {each["name"]: each.get("value", "") for each in container["env"]}
    assert environment["DESKLINE_TOPIC_PREFIX"] == "blue-"
    assert environment["DESKLINE_POSTGRES_DSN"].startswith("postgresql://deskline_owner@")


def command_takes(words):
    """Whether the command line knows these options."""
    command = get_command(verify_decisions)
    options = {option for parameter in command.params for option in parameter.opts}
    return {word for word in words if word.startswith("--")} <= options


def test_own_settings_win_over_those_of_all(rendered):
    def setting(service):
        (container,) = pods(rendered["whole"])[f"desk-deskline-{service}"]["spec"]["containers"]
        return {each["name"]: each.get("value") for each in container["env"]}

    assert setting("sla")["DESKLINE_LOG_LEVEL"] == "debug"
    assert setting("router")["DESKLINE_LOG_LEVEL"] == "info"
    assert setting("sla")["DESKLINE_ALLOWED_LATENESS_S"] == "2", "one value for the deployment"


@pytest.mark.parametrize("name", VALUES)
def test_every_pod_is_confined_probed_and_spread(rendered, name):
    for controller, pod in pods(rendered[name]).items():
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001, "the image's"
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert "memory" in container["resources"]["limits"]
        assert "cpu" not in container["resources"]["limits"], "held back, it would miss heartbeats"
        if controller.removeprefix("desk-deskline-") in SERVICES:
            assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
            assert len(spec["topologySpreadConstraints"]) == 2
            drain = ServiceSettings.model_fields["drain_s"].default
            assert spec["terminationGracePeriodSeconds"] > 2 * drain + 10


def test_memory_is_that_of_compose(rendered):
    services = compose()["services"]
    for service in SERVICES:
        (container,) = pods(rendered["as it is"])[f"desk-deskline-{service}"]["spec"]["containers"]
        assert container["resources"]["limits"]["memory"].lower() == f"{services[service]['mem_limit']}i"


def test_scaling_follows_the_lag_of_the_group_and_is_slow_to_scale_in(rendered):
    for service in SERVICES:
        spec = of(rendered["whole"], "ScaledObject")[f"desk-deskline-{service}"]["spec"]
        (trigger,) = spec["triggers"]
        assert trigger["metadata"]["consumerGroup"] == f"blue-deskline-{service}", "as the engine names it"
        assert trigger["metadata"]["lagThreshold"].isdecimal(), "not in exponents"
        assert (trigger["metadata"]["tls"], trigger["metadata"]["sasl"]) == ("enable", "scram_sha512")
        assert 2 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= 12
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert down == {
            "stabilizationWindowSeconds": 600,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}],
        }
        assert "replicas" not in of(rendered["whole"], "Deployment")[f"desk-deskline-{service}"]["spec"], (
            "KEDA's to set"
        )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"services": {"sla": {"maxReplicas": 13}}}, "never above the partition count, 12"),
        ({"partitions": 4}, "never above the partition count, 4"),
        ({"services": {"sla": {"replicas": 13}}, "scaling": {"enabled": False}}, "never above the partition count, 12"),
        ({"services": {"sla": {"maxReplicas": 1}}}, "below its replicas"),
        ({"postgres": {"sslmode": "verify-full"}}, "needs postgres.caSecret"),
        ({"scaling": {"scaleInAfterS": 10}}, "scaleInAfterS"),
        ({"kafka": {"bootstrapServers": "kafka"}}, "bootstrapServers"),
        ({"service": {}}, "service"),
        ({"verifyDecisions": {"claim": "c", "schedule": "nightly"}}, "schedule"),
        ({"settings": {"DESKLINE_KAFKA_PASSWORD": "x"}}, "DESKLINE_KAFKA_PASSWORD"),
        ({"settings": {"DESKLINE_DESKTOP_TOKEN": "x"}}, "DESKLINE_DESKTOP_TOKEN"),
    ],
)
def test_values_that_would_not_do_are_refused(values, told):
    done = helm("template", "desk", CHART, values=values, check=False)
    assert done.returncode != 0
    assert told in done.stderr


def test_rules_are_those_that_prometheus_has_elsewhere(rendered):
    for part in ("recording", "alerts"):
        rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules" / f"{part}.yml").read_text())
        assert of(rendered["as it is"], "PrometheusRule")[f"desk-deskline-{part}"]["spec"] == rules
    (monitor,) = of(rendered["as it is"], "ServiceMonitor").values()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["honorLabels"] is True
    (guarded,) = of(rendered["whole"], "ServiceMonitor").values()
    assert guarded["spec"]["endpoints"][0]["authorization"] == {
        "credentials": {"name": "metrics", "key": "metrics-token"}
    }
    assert endpoint["relabelings"][0]["targetLabel"] == "service", "the rules' one label"


def test_every_pod_has_a_network_policy_and_reaches_what_it_needs_alone(rendered):
    manifests = rendered["whole"]
    policies = of(manifests, "NetworkPolicy")
    assert set(policies) == set(pods(manifests))
    for name, policy in policies.items():
        labels = pods(manifests)[name]["metadata"]["labels"]
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        ports = {each["port"] for rule in policy["spec"]["egress"] for each in rule["ports"]}
        component = name.removeprefix("desk-deskline-")
        assert (5432 in ports) == (component != "topics")
        assert (9093 in ports) == (component not in ("migrations", "verify-decisions"))
        callers = [peer for rule in policy["spec"].get("ingress", []) for peer in rule["from"]]
        desktop = component in ("archive", "autoreply", "router")
        assert len(callers) == desktop + (component in SERVICES)


def test_jobs_run_before_what_needs_them(rendered):
    weights = {
        name.removeprefix("desk-deskline-"): int(each["metadata"]["annotations"]["helm.sh/hook-weight"])
        for kind in ("Job",)
        for name, each in of(rendered["whole"], kind).items()
    }
    assert weights["migrations"] < weights["configuration"]
    assert weights["topics"] < weights["configuration"]
    policy = of(rendered["whole"], "NetworkPolicy")["desk-deskline-migrations"]
    assert int(policy["metadata"]["annotations"]["helm.sh/hook-weight"]) < min(weights.values())
