# fish completion for ringback; made by `ringback completion fish`
function __ringback_at --argument-names wanted
    set -l at ringback
    set -l skip 0
    set -l typed (commandline -opc)
    for word in $typed[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$at $word"
            case 'ringback serve -c' 'ringback serve --config' 'ringback status -c' 'ringback status --config' 'ringback probe --file' 'ringback probe --from' 'ringback probe -c' 'ringback probe --config' 'ringback probe --concurrency' 'ringback probe --patience' 'ringback why -c' 'ringback why --config' 'ringback why --since' 'ringback cache -c' 'ringback cache --config' 'ringback history export -c' 'ringback history export --config' 'ringback history forget -c' 'ringback history forget --config' 'ringback config eval -c' 'ringback config eval --config' 'ringback config get -c' 'ringback config get --config' 'ringback config show -c' 'ringback config show --config' 'ringback config convert --to' 'ringback sieve check --phase' 'ringback sieve run --phase' 'ringback sieve run --from' 'ringback sieve run --rcpt' 'ringback sieve run --client-ip' 'ringback sieve run --helo' 'ringback sieve run --auth' 'ringback sieve run -c' 'ringback sieve run --config' 'ringback sieve run --listener' 'ringback sieve run --message' 'ringback sieve run --callback'
                set skip 1
            case 'ringback serve' 'ringback check' 'ringback demo' 'ringback status' 'ringback probe' 'ringback why' 'ringback password' 'ringback completion' 'ringback cache' 'ringback cache lookup' 'ringback cache count' 'ringback cache purge' 'ringback history' 'ringback history export' 'ringback history forget' 'ringback config' 'ringback config eval' 'ringback config get' 'ringback config show' 'ringback config format' 'ringback config convert' 'ringback sieve' 'ringback sieve check' 'ringback sieve format' 'ringback sieve explain' 'ringback sieve run'
                set at "$at $word"
        end
    end
    test "$at" = "$wanted"
end
complete -c ringback -f
complete -c ringback -n '__ringback_at "ringback"' -a serve -d 'Serve until SIGTERM or SIGINT'
complete -c ringback -n '__ringback_at "ringback"' -a check -d 'Build everything that `serve` would, print every error, and exit 78 if there is one'
complete -c ringback -n '__ringback_at "ringback"' -a demo -d 'Show Ringback at work with demo servers on loopback'
complete -c ringback -n '__ringback_at "ringback"' -a status -d 'Ask the running server whether it is ready'
complete -c ringback -n '__ringback_at "ringback"' -a probe -d 'Ask the mail exchangers of addresses whether they exist'
complete -c ringback -n '__ringback_at "ringback"' -a why -d 'Tell what became of mail, and who decided'
complete -c ringback -n '__ringback_at "ringback"' -a password -d 'Ask for a password and print the user\'s line for Authentication_File'
complete -c ringback -n '__ringback_at "ringback"' -a completion -d 'Print the completion script for a shell'
complete -c ringback -n '__ringback_at "ringback"' -a cache -d 'Look up, count or delete cached callback verdicts'
complete -c ringback -n '__ringback_at "ringback"' -a history -d 'Export or remove what the history has about an address'
complete -c ringback -n '__ringback_at "ringback"' -a config -d 'Query, format and convert an ecelerity.conf'
complete -c ringback -n '__ringback_at "ringback"' -a sieve -d 'Check, run, format and explain Sieve++ scripts'
complete -c ringback -n '__ringback_at "ringback"' -l version -d 'Print the version and exit.'
complete -c ringback -n '__ringback_at "ringback"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback serve"' -s c -l config -r -F -d 'The ecelerity.conf to run.'
complete -c ringback -n '__ringback_at "ringback serve"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback check"' -F
complete -c ringback -n '__ringback_at "ringback check"' -l json -d 'Print the diagnostics as JSON, for editors.'
complete -c ringback -n '__ringback_at "ringback check"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback demo"' -l once -d 'Exit after the samples, with status 0 if all went as expected.'
complete -c ringback -n '__ringback_at "ringback demo"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback status"' -s c -l config -r -F -d 'The server\'s ecelerity.conf.'
complete -c ringback -n '__ringback_at "ringback status"' -l json -d 'Print the answer of /readyz.'
complete -c ringback -n '__ringback_at "ringback status"' -l strict -d 'Exit 1 if a next hop or a store is down, or the last reload failed.'
complete -c ringback -n '__ringback_at "ringback status"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback probe"' -l file -r -F -d 'Also ask about the addresses in a file, one per line; `-`: stdin.'
complete -c ringback -n '__ringback_at "ringback probe"' -l from -x -d 'Sender in MAIL FROM. Default: the configured sender, else the null sender.'
complete -c ringback -n '__ringback_at "ringback probe"' -s c -l config -r -F -d 'Use this server\'s options, limits and store.'
complete -c ringback -n '__ringback_at "ringback probe"' -l concurrency -x -d 'Concurrent probes for --file.'
complete -c ringback -n '__ringback_at "ringback probe"' -l patience -x -d 'Seconds to retry an address while a limit is used up.'
complete -c ringback -n '__ringback_at "ringback probe"' -l json -d 'Print one JSON object per address, one per line.'
complete -c ringback -n '__ringback_at "ringback probe"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback why"' -s c -l config -r -F -d 'The server\'s ecelerity.conf; it names State_Directory.'
complete -c ringback -n '__ringback_at "ringback why"' -l since -x -d 'Only what is not older, such as 30m, 2h or 3d.'
complete -c ringback -n '__ringback_at "ringback why"' -l json -d 'Print one JSON object.'
complete -c ringback -n '__ringback_at "ringback why"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback password"' -l stdin -d 'Read the password from standard input (one line) without asking.'
complete -c ringback -n '__ringback_at "ringback password"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback completion"' -a 'bash zsh fish'
complete -c ringback -n '__ringback_at "ringback completion"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback cache"' -a lookup -d 'Print what is cached about an address, or about a domain itself'
complete -c ringback -n '__ringback_at "ringback cache"' -a count -d 'Print how many verdicts on addresses are cached'
complete -c ringback -n '__ringback_at "ringback cache"' -a purge -d 'Delete the cached data on an address, a domain with its addresses, or everything'
complete -c ringback -n '__ringback_at "ringback cache"' -s c -l config -r -F -d 'The server\'s ecelerity.conf; it names the store.'
complete -c ringback -n '__ringback_at "ringback cache"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback cache lookup"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback cache count"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback cache purge"' -l all -d 'Delete everything.'
complete -c ringback -n '__ringback_at "ringback cache purge"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback history"' -a export -d 'Print everything that the history has about an address, as JSON lines'
complete -c ringback -n '__ringback_at "ringback history"' -a forget -d 'Remove everything that the history has about an address'
complete -c ringback -n '__ringback_at "ringback history"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback history export"' -s c -l config -r -F -d 'The server\'s ecelerity.conf; it names State_Directory.'
complete -c ringback -n '__ringback_at "ringback history export"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback history forget"' -s c -l config -r -F -d 'The server\'s ecelerity.conf; it names State_Directory.'
complete -c ringback -n '__ringback_at "ringback history forget"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback config"' -a eval -d 'Print the effective value, after fallback between scopes, and its origin'
complete -c ringback -n '__ringback_at "ringback config"' -a get -d 'Print the value that the named scope sets itself'
complete -c ringback -n '__ringback_at "ringback config"' -a show -d 'Print the configuration as Ringback reads it'
complete -c ringback -n '__ringback_at "ringback config"' -a format -d 'Print a file in the canonical layout, with all comments'
complete -c ringback -n '__ringback_at "ringback config"' -a convert -d 'Convert a 2.2 file: write its module lines and listeners as 3.x/4.x stanzas'
complete -c ringback -n '__ringback_at "ringback config"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback config eval"' -s c -l config -r -F -d 'The ecelerity.conf to query.'
complete -c ringback -n '__ringback_at "ringback config eval"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback config get"' -s c -l config -r -F -d 'The ecelerity.conf to query.'
complete -c ringback -n '__ringback_at "ringback config get"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback config show"' -s c -l config -r -F -d 'The ecelerity.conf to query.'
complete -c ringback -n '__ringback_at "ringback config show"' -l origin -d 'Show where each value was set.'
complete -c ringback -n '__ringback_at "ringback config show"' -l defaults -d 'Also show default values.'
complete -c ringback -n '__ringback_at "ringback config show"' -l json -d 'Print JSON.'
complete -c ringback -n '__ringback_at "ringback config show"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback config format"' -F
complete -c ringback -n '__ringback_at "ringback config format"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback config convert"' -F
complete -c ringback -n '__ringback_at "ringback config convert"' -l to -x -d 'The dialect to write: 4x.'
complete -c ringback -n '__ringback_at "ringback config convert"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback sieve"' -a check -d 'Compile a script for a phase, print every error, and exit 65 if there is one'
complete -c ringback -n '__ringback_at "ringback sieve"' -a format -d 'Print a script in the canonical layout, with all comments'
complete -c ringback -n '__ringback_at "ringback sieve"' -a explain -d 'Print the manual entry of a function'
complete -c ringback -n '__ringback_at "ringback sieve"' -a run -d 'Run a script on a session built from the options, and print its decision'
complete -c ringback -n '__ringback_at "ringback sieve"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback sieve check"' -F
complete -c ringback -n '__ringback_at "ringback sieve check"' -l phase -x -a 'accept connect ehlo mailfrom rcptto data spool each_rcpt set_binding' -d 'The phase that the script is hooked into.'
complete -c ringback -n '__ringback_at "ringback sieve check"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback sieve format"' -F
complete -c ringback -n '__ringback_at "ringback sieve format"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback sieve explain"' -s h -l help -d 'Show this help and exit.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -F
complete -c ringback -n '__ringback_at "ringback sieve run"' -l phase -x -a 'accept connect ehlo mailfrom rcptto data spool each_rcpt set_binding' -d 'The phase that the script is hooked into.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l from -x -d 'MAIL FROM; empty is the null sender.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l rcpt -x -d 'RCPT TO.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l client-ip -x -d 'The client\'s address.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l helo -x -d 'The name that the client gives itself.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l auth -x -d 'The user who has logged in.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -s c -l config -r -F -d 'Use this configuration\'s options, as they apply to the client.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l listener -x -d 'The listener with --config. Default: the first.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l message -r -F -d 'A file with the message.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l callback -x -a 'pass fail transient error real' -d 'What smtp_callback_verify answers; `real` asks the exchanger.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l tls -d 'The session is encrypted.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l trace -d 'Print each statement with its line, values and verdict.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -l json -d 'Print the outcome as JSON.'
complete -c ringback -n '__ringback_at "ringback sieve run"' -s h -l help -d 'Show this help and exit.'
