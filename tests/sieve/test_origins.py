"""What names a file: the operator's words may lead anywhere, a session's or a message's only name the file."""

from __future__ import annotations

import pytest

from config.diagnostics import render
from sieve.compile.compiler import compile_script
from sieve.phases import Phase
from sieve.run.cache import ScriptCache
from sieve.run.runtime import Outcome
from tests.sieve.plain_host import PlainHost, PlainMessage

TAKEN = {
    "constant": ('ec_log_file "/var/log/../log/x.log" "l";', "/var/log/../log/x.log"),
    "word_of_the_message": ('$h = header "X-Name";\nec_log_file "/var/log/${h}.log" "l";', "/var/log/good.log"),
    "through_a_variable": (
        '$h = header "X-Name";\n$file = "/var/log/${h}.log";\nec_log_file $file "l";',
        "/var/log/good.log",
    ),
    "through_two_variables": (
        '$h = header "X-Name";\n$a = "/var/log/${h}";\n$b = $a;\n$c = "${b}.log";\nec_log_file "${c}" "l";',
        "/var/log/good.log",
    ),
    "constant_in_a_variable": ('$dir = "/var/log/..";\nec_log_file "${dir}/x" "l";', "/var/log/../x"),
    "configuration": ('$dir = ec_config "get" "State_Directory";\nec_log_file "${dir}/x" "l";', "/var/lib/x"),
    "constant_from_a_list": ('$dirs = ["/a", "/b"];\n$at = $dirs[1];\nec_log_file "${at}" "l";', "/b"),
    "element_of_a_list": ('$dirs = ["/a", "/b"];\nec_log_file $dirs[1] "l";', "/b"),
    "computed_of_constants": ('$p = ec_tolower "/VAR/X";\nec_log_file $p "l";', "/var/x"),
    "macro": ('ec_log_file "/var/log/%{vctx_conn:user}.log" "l";', "/var/log/alice.log"),
    "dots_that_are_no_folder": ('$h = header "X-Dot";\nec_log_file "/var/log/a${h}b" "l";', "/var/log/a.b"),
    "empty": ('$h = header "X-None";\nec_log_file "/var/log/x${h}" "l";', "/var/log/x"),
    "number": ('$t = ec_get_message_creation_time;\nec_log_file "/var/log/${t}" "l";', "/var/log/1750000000"),
}
REFUSED = {
    "dot_dot": '$h = header "X-Up";\nec_log_file "/var/log/${h}.log" "l";',
    "separator": '$h = header "X-Slash";\nec_log_file "/var/log/${h}.log" "l";',
    "through_a_variable": '$h = header "X-Up";\n$file = "/var/log/${h}.log";\nec_log_file $file "l";',
    "through_a_copy": '$h = header "X-Up";\n$a = "/var/log/${h}";\n$b = $a;\nec_log_file "${b}.log" "l";',
    "dot_dot_alone": '$h = header "X-Dots";\nec_log_file "/var/log/${h}/passwd" "l";',
    "put_together": '$h = header "X-Dot";\nec_log_file "/var/log/${h}${h}/x" "l";',
    "put_together_with_the_scripts": '$h = header "X-Dot";\nec_log_file "/var/log/.${h}/x" "l";',
    "whole_path": '$h = header "X-Path";\nec_log_file $h "l";',
    "whole_path_in_quotes": '$h = header "X-Path";\nec_log_file "${h}" "l";',
    "element": '$h = ec_header_get "X-Path";\nec_log_file $h[0] "l";',
    "macro_of_the_message": 'ec_log_file "/var/log/%{vctx_mess:up}" "l";',
    "macro_of_the_connection": 'ec_log_file "/var/log/%{vctx_conn:up}" "l";',
    "nul": 'ec_log_file "/var/log/%{vctx_mess:nul}" "l";',
    "sender": '$s = envelope "from";\nec_log_file "/var/log/${s}" "l";',
    "recipient": '$s = envelope "to";\nec_log_file "/var/log/${s}" "l";',
    "decoded": '$h = header "X-Coded";\n$d = ec_base64_decode $h;\nec_log_file "/var/log/${d}" "l";',
    "destructured": '($a) = header "X-Up";\nec_log_file "/var/log/${a}" "l";',
    "set_again": '$f = "/var/log";\n$f = header "X-Up";\nec_log_file "/var/log/${f}" "l";',
    "hash": (
        '$h = hash_create;\n$v = header "X-Up";\nhash_set $h "a" $v;\n$g = hash_get $h "a";\n'
        'ec_log_file "/var/${g}" "l";'
    ),
    "include": '$h = header "X-Up";\nec_include "/scripts/${h}.siv";',
}
MESSAGE = (
    "X-Name: good\nX-Up: ../../etc/cron.d/x\nX-Slash: a/b\nX-Dots: ..\nX-Dot: .\nX-Path: /etc/passwd\n"
    "X-Coded: Li4vLi4veA==\n\nbody"
)


async def ran(text: str) -> tuple[Outcome, PlainHost]:
    compiled = compile_script(text, phase=Phase.SPOOL, includes=ScriptCache())
    assert compiled.script is not None, render(compiled.diagnostics)
    host = PlainHost(
        sender='"a/../b"@sender.test',
        recipients=("../x@example.com",),
        message=PlainMessage(MESSAGE),
        vctx_conn={"user": "alice", "up": "../x"},
        vctx_mess={"up": "a/b", "nul": "x\0"},
        options={"State_Directory": "/var/lib"},
    )
    return await compiled.script.run(host), host


@pytest.mark.parametrize(("text", "path"), TAKEN.values(), ids=TAKEN.keys())
async def test_what_the_operator_writes_leads_anywhere(text: str, path: str) -> None:
    outcome, host = await ran(text)
    assert not outcome.failed, host.done
    assert any(path in line for line in host.done), host.done


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
async def test_what_a_session_or_a_message_brings_leads_nowhere(text: str) -> None:
    outcome, host = await ran(text)
    assert outcome.failed
    (told,) = host.done
    assert "cannot come from the session or the message" in told
