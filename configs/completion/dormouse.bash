# Completion for dormouse in bash. Belongs to /usr/share/bash-completion/completions/dormouse.
# shellcheck shell=bash

# begin tables
_dormouse_commands() { echo 'run check activate explain convert help list status watch history metrics start stop restart pause resume reload upgrade'; }
_dormouse_options() {
    case $1 in
        run) echo '-c --config --control --dialect -d --detach --pidfile --notify-fd --log --log-level -v --verbose -q --quiet -h --help -V --version' ;;
        check) echo '-c --config --print --dialect -h --help -V --version' ;;
        activate) echo '-l --listen -a --accept -d --datagram --seqpacket --inetd --fdname -E --setenv --now --once --log-level -v --verbose -q --quiet -h --help -V --version' ;;
        explain) echo '-c --config --dialect -h --help -V --version' ;;
        convert) echo '--dialect -h --help -V --version' ;;
        help) echo '-h --help -V --version' ;;
        list) echo '--control --json -h --help -V --version' ;;
        status) echo '--control --json -h --help -V --version' ;;
        watch) echo '--control --json -h --help -V --version' ;;
        history) echo '--control --json -h --help -V --version' ;;
        metrics) echo '--control -h --help -V --version' ;;
        start) echo '--control -h --help -V --version' ;;
        stop) echo '--control -h --help -V --version' ;;
        restart) echo '--control -h --help -V --version' ;;
        pause) echo '--control -h --help -V --version' ;;
        resume) echo '--control -h --help -V --version' ;;
        reload) echo '--control -h --help -V --version' ;;
        upgrade) echo '--control -h --help -V --version' ;;
    esac
}
_dormouse_values() {
    case "$1 $2" in
        'run -c' | 'run --config') echo 'FILE' ;;
        'run --control') echo 'PATH off' ;;
        'run --dialect') echo 'NONE' ;;
        'run --pidfile') echo 'FILE' ;;
        'run --notify-fd') echo 'NONE' ;;
        'run --log') echo 'stderr syslog kmsg' ;;
        'run --log-level') echo 'error warn info debug trace' ;;
        'check -c' | 'check --config') echo 'FILE' ;;
        'check --dialect') echo 'NONE' ;;
        'activate -l' | 'activate --listen') echo 'NONE' ;;
        'activate --fdname') echo 'NONE' ;;
        'activate -E' | 'activate --setenv') echo 'NONE' ;;
        'activate --log-level') echo 'error warn info debug trace' ;;
        'explain -c' | 'explain --config') echo 'FILE' ;;
        'explain --dialect') echo 'NONE' ;;
        'convert --dialect') echo 'NONE' ;;
        'list --control') echo 'PATH off' ;;
        'status --control') echo 'PATH off' ;;
        'watch --control') echo 'PATH off' ;;
        'history --control') echo 'PATH off' ;;
        'metrics --control') echo 'PATH off' ;;
        'start --control') echo 'PATH off' ;;
        'stop --control') echo 'PATH off' ;;
        'restart --control') echo 'PATH off' ;;
        'pause --control') echo 'PATH off' ;;
        'resume --control') echo 'PATH off' ;;
        'reload --control') echo 'PATH off' ;;
        'upgrade --control') echo 'PATH off' ;;
    esac
}
# end tables

_dormouse() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=run values
    COMPREPLY=()
    case ${COMP_WORDS[1]:-} in
        '' | -*) ;;
        *) [ "$COMP_CWORD" -eq 1 ] || command=${COMP_WORDS[1]} ;;
    esac
    values=$(_dormouse_values "$command" "$before")
    case $values in
        FILE) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
        NONE) ;;
        ?*) mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word") ;;
        *)
            case $command,$word in
                *,-*) values=$(_dormouse_options "$command") ;;
                run,* | help,*) values=$(_dormouse_commands) ;;
                explain,*) values=$(dormouse check --print 2>/dev/null | sed -n 's/^\[\(.*\)\]$/\1/p') ;;
                activate,*) values=$(compgen -c -- "$word") ;;
            esac
            mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
            ;;
    esac
}

complete -F _dormouse -o filenames dormouse
