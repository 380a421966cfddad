"""What the environment sets: a wrong value is a sentence, and never opens what was meant to be shut."""

import pytest

from containerize_deploy.settings import Policy, SettingsError, cors_origin, memory_mb


def test_the_environment_decides():
    assert Policy.from_environment({}) == Policy()
    assert not Policy.from_environment({"FETCH_URLS": " Off"}).enabled
    assert Policy.from_environment({"FETCH_USER_AGENT": "me/1 (me@photos.example)"}).user_agent.startswith(
        "me"
    )
    assert Policy.from_environment({"FETCH_HOSTS": "KÜSTE.example., .Photos.example,"}).hosts == (
        "xn--kste-0ra.example",
        ".photos.example",
    )
    assert (cors_origin({}), cors_origin({"CORS_ORIGIN": ""})) == ("*", "")
    assert (memory_mb({}), memory_mb({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769"})) == (None, 1769)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("FETCH_URLS", value) for value in ("", "of", "false", "0", "on,off", "оn")),  # the last in Cyrillic
        *(
            ("FETCH_HOSTS", value)
            for value in (" ", ",", " , ", ".", "*", "*.photos.example", "https://photos.example", "photos.example:443",
                          "photos.example/", "photos example", "photos..example", "a.example, *", "[::1]", "\ud800")
        ),
        *(("FETCH_USER_AGENT", value) for value in ("me\r\nX-Injected: 1", "mé", "x" * 300)),
        *(("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", value) for value in ("", "0", "1769 MB", "-1", "１７６９", "9" * 30)),
        *(("CORS_ORIGIN", value) for value in ("photos.example", "https://photos.example/", "null", "https://a.example,*")),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_a_sentence_and_opens_nothing(name, value):
    with pytest.raises(SettingsError) as caught:
        memory_mb({name: value})
        cors_origin({name: value})
        Policy.from_environment({name: value})
    assert str(caught.value).startswith(f"Expected {name} to be ")
    assert str(caught.value).endswith(f", found {value!r}.")


@pytest.mark.parametrize(
    ("hosts", "host", "allowed"),
    [
        ("", "photos.example", True),
        ("photos.example", "more.photos.example", False),
        (".photos.example", "more.photos.example", True),
        (".photos.example", "photos.example", True),
        (".photos.example", "evilphotos.example", False),
        ("other.example, photos.example", "photos.example", True),
        ("other.example", "photos.example", False),
    ],
)
def test_a_list_of_hosts_lets_through_what_it_names(hosts, host, allowed):
    assert Policy.from_environment({"FETCH_HOSTS": hosts}).allows(host) is allowed
