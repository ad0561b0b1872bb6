# bash completion for ringback; made by `ringback completion bash`
_ringback() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} at=ringback words= files=0 i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${COMP_WORDS[i]}" in
        'ringback serve -c'|'ringback serve --config'|'ringback status -c'|'ringback status --config'|'ringback console -c'|'ringback console --config'|'ringback console -r'|'ringback console --reason'|'ringback tail -c'|'ringback tail --config'|'ringback page -c'|'ringback page --config'|'ringback page --role'|'ringback explain -c'|'ringback explain --config'|'ringback explain --auth'|'ringback probe --file'|'ringback probe --from'|'ringback probe -c'|'ringback probe --config'|'ringback probe --concurrency'|'ringback probe --patience'|'ringback check-mail --client-ip'|'ringback check-mail --helo'|'ringback check-mail --from'|'ringback check-mail --rcpt'|'ringback check-mail -c'|'ringback check-mail --config'|'ringback why -c'|'ringback why --config'|'ringback why --since'|'ringback cache -c'|'ringback cache --config'|'ringback history export -c'|'ringback history export --config'|'ringback history forget -c'|'ringback history forget --config'|'ringback config eval -c'|'ringback config eval --config'|'ringback config get -c'|'ringback config get --config'|'ringback config show -c'|'ringback config show --config'|'ringback config convert --to'|'ringback config init --domains'|'ringback config init --next-hop'|'ringback config init --hostname'|'ringback config init --listen'|'ringback config init --networks'|'ringback config init --from'|'ringback sieve check --phase'|'ringback sieve check --dialect'|'ringback sieve check --fileinto-header'|'ringback sieve format --dialect'|'ringback sieve explain --dialect'|'ringback sieve run --phase'|'ringback sieve run --from'|'ringback sieve run --rcpt'|'ringback sieve run --client-ip'|'ringback sieve run --helo'|'ringback sieve run --auth'|'ringback sieve run -c'|'ringback sieve run --config'|'ringback sieve run --listener'|'ringback sieve run --message'|'ringback sieve run --callback'|'ringback sieve run --dialect'|'ringback sieve run --fileinto-header') ((i++)) ;;
        'ringback serve'|'ringback check'|'ringback demo'|'ringback status'|'ringback console'|'ringback tail'|'ringback page'|'ringback explain'|'ringback probe'|'ringback check-mail'|'ringback why'|'ringback password'|'ringback completion'|'ringback cache'|'ringback cache lookup'|'ringback cache count'|'ringback cache purge'|'ringback history'|'ringback history export'|'ringback history forget'|'ringback config'|'ringback config eval'|'ringback config get'|'ringback config show'|'ringback config format'|'ringback config convert'|'ringback config init'|'ringback sieve'|'ringback sieve check'|'ringback sieve format'|'ringback sieve explain'|'ringback sieve run') at="$at ${COMP_WORDS[i]}" ;;
        esac
    done
    if [[ $word == = ]]; then
        word=
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]}
    fi
    case "$at $before" in
        'ringback serve -c'|'ringback serve --config') compopt -o default; return ;;
        'ringback status -c'|'ringback status --config') compopt -o default; return ;;
        'ringback console -c'|'ringback console --config') compopt -o default; return ;;
        'ringback console -r'|'ringback console --reason') return ;;
        'ringback tail -c'|'ringback tail --config') compopt -o default; return ;;
        'ringback page -c'|'ringback page --config') compopt -o default; return ;;
        'ringback page --role') return ;;
        'ringback explain -c'|'ringback explain --config') compopt -o default; return ;;
        'ringback explain --auth') return ;;
        'ringback probe --file') compopt -o default; return ;;
        'ringback probe --from') return ;;
        'ringback probe -c'|'ringback probe --config') compopt -o default; return ;;
        'ringback probe --concurrency') return ;;
        'ringback probe --patience') return ;;
        'ringback check-mail --client-ip') return ;;
        'ringback check-mail --helo') return ;;
        'ringback check-mail --from') return ;;
        'ringback check-mail --rcpt') return ;;
        'ringback check-mail -c'|'ringback check-mail --config') compopt -o default; return ;;
        'ringback why -c'|'ringback why --config') compopt -o default; return ;;
        'ringback why --since') return ;;
        'ringback cache -c'|'ringback cache --config') compopt -o default; return ;;
        'ringback history export -c'|'ringback history export --config') compopt -o default; return ;;
        'ringback history forget -c'|'ringback history forget --config') compopt -o default; return ;;
        'ringback config eval -c'|'ringback config eval --config') compopt -o default; return ;;
        'ringback config get -c'|'ringback config get --config') compopt -o default; return ;;
        'ringback config show -c'|'ringback config show --config') compopt -o default; return ;;
        'ringback config convert --to') return ;;
        'ringback config init --domains') return ;;
        'ringback config init --next-hop') return ;;
        'ringback config init --hostname') return ;;
        'ringback config init --listen') return ;;
        'ringback config init --networks') return ;;
        'ringback config init --from') compopt -o default; return ;;
        'ringback sieve check --phase') COMPREPLY=($(compgen -W 'accept connect ehlo mailfrom rcptto data spool each_rcpt set_binding' -- "$word")); return ;;
        'ringback sieve check --dialect') COMPREPLY=($(compgen -W 'sieve++ rfc5228 auto' -- "$word")); return ;;
        'ringback sieve check --fileinto-header') return ;;
        'ringback sieve format --dialect') COMPREPLY=($(compgen -W 'sieve++ rfc5228 auto' -- "$word")); return ;;
        'ringback sieve explain --dialect') COMPREPLY=($(compgen -W 'sieve++ rfc5228 auto' -- "$word")); return ;;
        'ringback sieve run --phase') COMPREPLY=($(compgen -W 'accept connect ehlo mailfrom rcptto data spool each_rcpt set_binding' -- "$word")); return ;;
        'ringback sieve run --from') return ;;
        'ringback sieve run --rcpt') return ;;
        'ringback sieve run --client-ip') return ;;
        'ringback sieve run --helo') return ;;
        'ringback sieve run --auth') return ;;
        'ringback sieve run -c'|'ringback sieve run --config') compopt -o default; return ;;
        'ringback sieve run --listener') return ;;
        'ringback sieve run --message') compopt -o default; return ;;
        'ringback sieve run --callback') COMPREPLY=($(compgen -W 'pass fail transient error real' -- "$word")); return ;;
        'ringback sieve run --dialect') COMPREPLY=($(compgen -W 'sieve++ rfc5228 auto' -- "$word")); return ;;
        'ringback sieve run --fileinto-header') return ;;
    esac
    case "$at" in
        'ringback') words='serve check demo status console tail page explain probe check-mail why password completion cache history config sieve --version -h --help' files=0 ;;
        'ringback serve') words='-c --config -h --help' files=0 ;;
        'ringback check') words='--json --strict -h --help' files=1 ;;
        'ringback demo') words='--once -h --help' files=0 ;;
        'ringback status') words='-c --config --json --strict -h --help' files=0 ;;
        'ringback console') words='-c --config -r --reason -h --help' files=0 ;;
        'ringback tail') words='-c --config --only-new --only-one --terse --json --trace -h --help' files=0 ;;
        'ringback page') words='-c --config --role --json -h --help' files=0 ;;
        'ringback explain') words='-c --config --tls --auth --json -h --help' files=0 ;;
        'ringback probe') words='--file --from -c --config --concurrency --patience --json -h --help' files=0 ;;
        'ringback check-mail') words='--client-ip --helo --from --rcpt -c --config --json -h --help' files=1 ;;
        'ringback why') words='-c --config --since --json -h --help' files=0 ;;
        'ringback password') words='--stdin -h --help' files=0 ;;
        'ringback completion') words='bash zsh fish -h --help' files=0 ;;
        'ringback cache') words='lookup count purge -c --config -h --help' files=0 ;;
        'ringback cache lookup') words='-h --help' files=0 ;;
        'ringback cache count') words='-h --help' files=0 ;;
        'ringback cache purge') words='--all -h --help' files=0 ;;
        'ringback history') words='export forget -h --help' files=0 ;;
        'ringback history export') words='-c --config -h --help' files=0 ;;
        'ringback history forget') words='-c --config -h --help' files=0 ;;
        'ringback config') words='eval get show format convert init -h --help' files=0 ;;
        'ringback config eval') words='-c --config -h --help' files=0 ;;
        'ringback config get') words='-c --config -h --help' files=0 ;;
        'ringback config show') words='-c --config --origin --defaults --json -h --help' files=0 ;;
        'ringback config format') words='-h --help' files=1 ;;
        'ringback config convert') words='--to -h --help' files=1 ;;
        'ringback config init') words='--domains --next-hop --hostname --listen --networks --from --force -h --help' files=1 ;;
        'ringback sieve') words='check format explain run -h --help' files=0 ;;
        'ringback sieve check') words='--phase --dialect --fileinto-header -h --help' files=1 ;;
        'ringback sieve format') words='--dialect -h --help' files=1 ;;
        'ringback sieve explain') words='--dialect -h --help' files=0 ;;
        'ringback sieve run') words='--phase --from --rcpt --client-ip --helo --auth -c --config --listener --message --callback --dialect --fileinto-header --tls --trace --json -h --help' files=1 ;;
    esac
    if ((files)) && [[ $word != -* ]]; then
        compopt -o default
    else
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    fi
}
complete -F _ringback ringback
