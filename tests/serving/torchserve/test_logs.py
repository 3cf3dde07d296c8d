"""What is read out of TorchServe's logs: the reason, not the noise around it."""

from xml.etree import ElementTree

from serving.torchserve.logs import log4j_config, server_failure, worker_failure, worker_restarts


def said(*messages: str) -> list[str]:
    prefix = "2026-11-24T16:05:48,346 [INFO ] W-9000-animals_v1-stdout MODEL_LOG - "
    return [f"{prefix}{message}\n" for message in messages]


START = ("Listening on port: /tmp/x/.ts.sock.9000", "Torch worker started.", "model_name: animals, batchSize: 8")
TRACE = ("Traceback (most recent call last):", '  File "service.py", line 1, in <module>', "    raise it")


def test_the_reason_a_model_did_not_load_counts_not_the_death_that_follows() -> None:
    lines = said(
        *START,
        "Failed to load model animals, exception no such file",
        *TRACE,
        "RuntimeError: no such file",
        "Backend worker process died.",
        *TRACE,
        "RuntimeError: 500 - Unknown exception",
    )
    assert worker_failure(lines) == "RuntimeError: no such file"


def test_of_a_chain_of_exceptions_the_last_counts() -> None:
    chain = (
        *TRACE,
        "KeyError: 'name'",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        *TRACE,
        "monitor.errors.OperatorError: the manifest cannot be used",
    )
    first = said(*START, "Backend worker process died.", *chain)
    again = said(*START, "Backend worker process died.", *TRACE, "OSError: of the second worker")
    assert worker_failure(first) == "monitor.errors.OperatorError: the manifest cannot be used"
    assert worker_failure(first + again) == "monitor.errors.OperatorError: the manifest cannot be used"


def test_without_an_error_the_last_words_count() -> None:
    assert worker_failure(said(*START)) == START[-1]
    assert worker_failure(said("Backend worker process died.")) is None
    assert worker_failure([]) is None


def test_restarts_are_counted() -> None:
    line = (
        "2026-11-24T16:21:47,453 [INFO ] W-9000 org.pytorch.serve.wlm.WorkerThread - Retry worker: 9000 in 1 seconds."
    )
    assert worker_restarts([]) == 0
    assert worker_restarts([line, line]) == 2


def test_a_server_that_ended_is_quoted_by_its_exception_then_error_then_line() -> None:
    error = "2026-11-24T16:21:47,453 [ERROR] main org.pytorch.serve.ModelServer - cannot bind\n"
    trace = ["java.lang.IllegalStateException: first\n", "\tat Some.method\n", "Caused by: java.io.IOException: disk\n"]
    assert server_failure([error, *trace, "Model server stopped.\n"]) == "Caused by: java.io.IOException: disk"
    assert server_failure([error, "Model server stopped.\n"]) == "cannot bind"
    assert server_failure(["Model server stopped.\n", "\n"]) == "Model server stopped."
    assert server_failure([]) is None


def test_the_configuration_is_well_formed_and_every_file_is_bounded() -> None:
    root = ElementTree.fromstring(log4j_config("/srv/logs"))
    files = root.findall(".//RollingFile")
    assert {file.get("fileName") for file in files} == {
        f"/srv/logs/{name}.log" for name in ("server", "models", "workers")
    }
    assert all(file.find("SizeBasedTriggeringPolicy") is not None for file in files)
