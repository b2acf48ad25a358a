"""Who calls is proved before a byte of the request is read; whoever proves nothing gets a 401."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from typing import Any

import jwt
import pytest
from e2e.support.bank import COPILOT, FAQ, INSIDE, OUTSIDE, Bank
from e2e.support.marks import Marks
from e2e.support.wire import Answer, Headers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

BODY = b'{"model":"auto","max_tokens":4,"messages":[{"role":"user","content":"hello"}]}'


def call(bank: Bank, *more: tuple[str, str], body: bytes = BODY) -> Answer:
    """Ask with just these headers as credentials."""
    return bank.send(body, app="", more=more)


def unproved(answer: Answer) -> bool:
    assert 401 == answer.status
    assert "invalid_api_key" == answer.error["code"]
    assert answer.header("www-authenticate").startswith("Bearer")
    assert answer.decision
    return True


def asked_token(bank: Bank, *, audience: str, account: str = "copilot", seconds: int = 600) -> str:
    """A token that the cluster's API signs, for any audience."""
    config = json.loads((bank.state / "kubeconfig").read_text("utf-8"))
    server = config["clusters"][0]["cluster"]["server"]
    own = config["users"][0]["user"]["token"]
    request = urllib.request.Request(
        f"{server}/api/v1/namespaces/retail/serviceaccounts/{account}/token",
        data=json.dumps(
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": [audience], "expirationSeconds": seconds},
            }
        ).encode(),
        headers={"authorization": f"Bearer {own}", "content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return str(answer["status"]["token"])


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_a_key_is_taken_from_each_header_that_clients_use(bank: Bank, header: str) -> None:
    """OpenAI, Azure and Anthropic clients put the key in three places."""
    key = bank.credential(FAQ)
    value = f"Bearer {key}" if header == "authorization" else key

    answer = call(bank, (header, value))

    assert (200, OUTSIDE) == (answer.status, answer.site)


WRONG: dict[str, Headers] = {
    "none": (),
    "an unknown key": (("authorization", "Bearer dmk_example_retail_branch_faq_0000000000"),),
    "an empty key": (("authorization", "Bearer "),),
    "another scheme": (("authorization", "Basic ZmFxOmZhcQ=="),),
    "no scheme": (("authorization", "{key}"),),
    "a key in the wrong case": (("authorization", "Bearer {KEY}"),),
    "a key that is cut": (("authorization", "Bearer {cut}"),),
    "a key with a tail": (("authorization", "Bearer {key}x"),),
    "two keys in one header": (("authorization", "Bearer {key}, Bearer {key}"),),
    "a header twice": (("authorization", "Bearer {key}"), ("authorization", "Bearer {key}")),
    "two headers that agree": (("authorization", "Bearer {key}"), ("x-api-key", "{key}")),
    "two headers that differ": (("authorization", "Bearer {key}"), ("api-key", "{other}")),
    "a hash of the key": (("authorization", "Bearer {hash}"),),
    "a key of another language": (("authorization", "Bearer dmk_exämple"),),
}


@pytest.mark.parametrize("name", WRONG)
def test_whoever_proves_nothing_gets_a_401(bank: Bank, name: str) -> None:
    """A credential that two tiers could read differently proves two people, so it proves none."""
    key = bank.credential(FAQ)
    forms = {
        "key": key,
        "KEY": key.upper(),
        "cut": key[:-1],
        "other": bank.credential(COPILOT),
        "hash": "0" * 64,
    }
    more = tuple((header, value.format(**forms)) for header, value in WRONG[name])

    answer = call(bank, *more)

    assert unproved(answer)
    assert key.encode() not in answer.body


def test_the_body_of_a_stranger_is_not_read(bank: Bank) -> None:
    """What is wrong with the body is nobody's business who is not known."""
    answer = call(bank, body=b'{"model":')

    assert unproved(answer)


def test_a_token_of_a_service_account_proves_its_app(bank: Bank) -> None:
    """Workloads in the cluster need no key that somebody could copy."""
    token = bank.demarc("token", "retail/copilot").stdout.strip()

    answer = call(bank, ("authorization", f"Bearer {token}"))
    written = call(
        bank, ("authorization", f"Bearer {bank.credential(COPILOT, client='copilot-sa')}")
    )

    assert (200, INSIDE) == (answer.status, answer.site)
    assert (200, INSIDE) == (written.status, written.site)


def test_a_token_for_another_audience_proves_nothing(bank: Bank) -> None:
    """A token that a pod gave to another service must not open this one."""
    good = asked_token(bank, audience="demarc")
    other = asked_token(bank, audience="vault")

    assert 200 == call(bank, ("authorization", f"Bearer {good}")).status
    assert unproved(call(bank, ("authorization", f"Bearer {other}")))


def test_a_token_of_an_account_that_no_policy_names_proves_nothing(bank: Bank) -> None:
    """Every pod has a ServiceAccount; only those that a tenant named are clients."""
    config = json.loads((bank.state / "kubeconfig").read_text("utf-8"))
    cli = config["users"][0]["user"]["token"]

    assert unproved(call(bank, ("authorization", f"Bearer {cli}")))


def test_a_token_ends(bank: Bank) -> None:
    """A token that still works after its end is a key without an owner.

    The API signs no token that ends at once, so this one is signed with the API's own key.
    """
    token = bank.demarc("token", "retail/copilot").stdout.strip()
    key = (bank.state / "clusters" / INSIDE / "token.key").read_bytes()
    known = jwt.get_unverified_header(token)["kid"]
    claims = jwt.decode(token, options={"verify_signature": False})

    def signed(**changes: int) -> Answer:
        text = jwt.encode({**claims, **changes}, key, algorithm="ES256", headers={"kid": known})
        return call(bank, ("authorization", f"Bearer {text}"))

    now = int(claims["iat"])

    assert 200 == signed().status
    assert unproved(signed(iat=now - 3600, nbf=now - 3600, exp=now - 1))
    assert unproved(signed(iat=now + 3600, nbf=now + 3600, exp=now + 7200))


def changed(token: str, **claims: Any) -> str:
    """The token with other claims and the signature of the old ones."""
    head, body, signature = token.split(".")
    read = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    written = json.dumps({**read, **claims}).encode()
    return f"{head}.{base64.urlsafe_b64encode(written).decode().rstrip('=')}.{signature}"


def without_signature(token: str) -> str:
    """The token as one of the algorithm `none`."""
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{head}.{token.split('.')[1]}."


def test_a_token_that_was_changed_proves_nothing(bank: Bank) -> None:
    """The classic ways to forge a token: another subject, a later end, no algorithm."""
    token = bank.demarc("token", "retail/copilot").stdout.strip()
    forged = (
        changed(token, sub="system:serviceaccount:risk:casework"),
        changed(token, exp=4_000_000_000),
        changed(token, aud=["demarc", "other"]),
        without_signature(token),
        token[:-4] + "AAAA",
        ".".join(token.split(".")[:2]),
    )

    for each in forged:
        assert unproved(call(bank, ("authorization", f"Bearer {each}")))


def test_a_token_is_taken_as_a_bearer_token_only(bank: Bank) -> None:
    """A token in a header for keys would travel where keys are logged."""
    token = bank.demarc("token", "retail/copilot").stdout.strip()

    assert unproved(call(bank, ("x-api-key", token)))


def test_an_app_is_its_credential_and_not_what_it_says(bank: Bank, marks: Marks) -> None:
    """A registered app's name in a header, a field or the `user` does not lower anybody's floor."""
    since, word = bank.recording.end(), marks.word()
    body = json.dumps(
        {
            "model": "auto",
            "max_tokens": 4,
            "user": "retail/branch-faq",
            "metadata": {"app": "branch-faq"},
            "messages": [{"role": "user", "content": f"hello {word}", "name": "branch-faq"}],
        }
    ).encode()

    answer = call(
        bank,
        ("authorization", f"Bearer {bank.credential(COPILOT)}"),
        ("x-app", "branch-faq"),
        ("openai-organization", "retail"),
        ("openai-project", "branch-faq"),
        body=body,
    )

    assert (200, INSIDE) == (answer.status, answer.site)
    assert () == bank.recording.holding(word, since=since)


def test_the_kubeconfig_reads_and_does_not_write(bank: Bank) -> None:
    """Whoever holds the CLI's credential must not be able to change policy or read keys with it."""
    config = json.loads((bank.state / "kubeconfig").read_text("utf-8"))
    server = config["clusters"][0]["cluster"]["server"]
    own = f"Authorization: Bearer {config['users'][0]['user']['token']}"

    def status(*words: str) -> str:
        command = ["curl", "-s", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}"]
        return subprocess.run(
            [*command, *words], capture_output=True, text=True, check=False
        ).stdout

    policies = f"{server}/apis/demarc.dev/v1alpha1/namespaces/retail/routingpolicies"

    assert "200" == status("-H", own, policies)
    assert "401" == status(policies)
    assert "405" == status("-H", own, "-X", "DELETE", f"{policies}/chat")
    assert status("-H", own, f"{server}/api/v1/namespaces/retail/secrets") in {"403", "404"}
