"""What can be said of the files for docker where there is no engine; `make compose-test` runs them on one."""

import re
from pathlib import Path

import pytest
import yaml

from api.settings import Settings

ROOT = Path(__file__).parent.parent
COMPOSE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
SERVICES = yaml.safe_load(COMPOSE)["services"]
NOT_FOR_USERS = {"NCORE_VERSION", "NCORE_MONITORING_PORT"}
S3 = {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"}
SET_IN_THE_IMAGE = {"home", "data_dir", "host", "port"}


def test_the_example_has_every_variable_with_the_default_that_compose_has():
    read = dict(re.findall(r"\$\{(NCORE_\w+):-([^}]*)\}", COMPOSE))
    assert {name: read[name] for name in read.keys() - NOT_FOR_USERS} == {
        name: value for name, value in EXAMPLE.items() if not name.endswith("PASSWORD")
    }


def test_every_setting_can_be_given_to_the_containers():
    given = {name for service in ("api", "worker", "gpu-worker") for name in SERVICES[service]["environment"]}
    assert {f"NCORE_{name.upper()}" for name in Settings.model_fields.keys() - SET_IN_THE_IMAGE} | S3 == given


def test_no_password_has_a_default():
    needed = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    assert needed == {"NCORE_DATABASE_PASSWORD", "NCORE_BROKER_PASSWORD"}
    assert {EXAMPLE[name] for name in needed} == {""}
    assert not re.search(r"\$\{\w*PASSWORD(:?-|\})", COMPOSE)


def test_every_service_rotates_its_logs_and_the_lasting_ones_restart():
    for name, service in SERVICES.items():
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
        assert ("healthcheck" in service) == (name not in ("migrate", "monitoring"))


def test_ports_are_published_on_this_machine_only_unless_asked_otherwise_and_without_a_token_never():
    published = {name: port for name, service in SERVICES.items() for port in service.get("ports", [])}
    assert published.keys() == {"api", "monitoring"}
    assert published["api"].startswith("${NCORE_BIND:-127.0.0.1}:")
    assert published["monitoring"].startswith("127.0.0.1:")


def test_every_image_is_an_exact_version_and_every_container_has_its_limits():
    of_others = [service["image"] for service in SERVICES.values() if not service["image"].startswith("ncore-")]
    base = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.M)[1]
    assert len(of_others) == 3
    assert all(re.search(r":v?\d+\.\d+(\.\d+)?(-|$)", image) for image in (*of_others, base))
    assert all({"mem_limit", "pids_limit"} <= service.keys() for service in SERVICES.values())


def test_our_containers_are_read_only_and_without_rights():
    for name in ("migrate", "api", "worker", "gpu-worker"):
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    assert len(re.findall(r"^USER ncore$", (ROOT / "Dockerfile").read_text(), re.M)) == 2


def test_the_cpu_file_leaves_out_exactly_what_reserves_a_gpu():
    left_out = yaml.safe_load((ROOT / "docker-compose.cpu.yml").read_text())["services"]
    assert set(left_out) == {name for name, service in SERVICES.items() if "deploy" in service}


@pytest.mark.parametrize("name", ["Dockerfile", "docs/ncore.service", "docs/ncore-worker.service"])
def test_no_service_is_started_from_modules_of_the_current_folder(name):
    started = re.findall(r"^(?:CMD|ExecStart).*", (ROOT / name).read_text(), re.M)
    assert started
    assert not [line for line in started if re.search(r"python\W+-m\W", line)]
