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
        'run --control') echo 'FILE off' ;;
        'run --dialect') echo 'busybox openbsd freebsd inetutils xinetd' ;;
        'run --pidfile') echo 'FILE' ;;
        'run --notify-fd') echo 'NONE' ;;
        'run --log') echo 'stderr syslog kmsg' ;;
        'run --log-level') echo 'error warn info debug trace' ;;
        'check -c' | 'check --config') echo 'FILE' ;;
        'check --dialect') echo 'busybox openbsd freebsd inetutils xinetd' ;;
        'activate -l' | 'activate --listen') echo 'NONE' ;;
        'activate --fdname') echo 'NONE' ;;
        'activate -E' | 'activate --setenv') echo 'NONE' ;;
        'activate --log-level') echo 'error warn info debug trace' ;;
        'explain -c' | 'explain --config') echo 'FILE' ;;
        'explain --dialect') echo 'busybox openbsd freebsd inetutils xinetd' ;;
        'convert --dialect') echo 'busybox openbsd freebsd inetutils xinetd' ;;
        'list --control') echo 'FILE off' ;;
        'status --control') echo 'FILE off' ;;
        'watch --control') echo 'FILE off' ;;
        'history --control') echo 'FILE off' ;;
        'metrics --control') echo 'FILE off' ;;
        'start --control') echo 'FILE off' ;;
        'stop --control') echo 'FILE off' ;;
        'restart --control') echo 'FILE off' ;;
        'pause --control') echo 'FILE off' ;;
        'resume --control') echo 'FILE off' ;;
        'reload --control') echo 'FILE off' ;;
        'upgrade --control') echo 'FILE off' ;;
    esac
}
# end tables

# Names of services: _dormouse_services COMMAND [OPTION VALUE]... Only explain needs no daemon.
_dormouse_services() {
    local command=$1
    shift
    case $command in
        explain) dormouse check --print "$@" 2>/dev/null | sed -n 's/^\[\(.*\)\]$/\1/p' ;;
        *) dormouse list "$@" 2>/dev/null | sed -n '2,$s/^\([^ ]\{1,\}\) .*/\1/p' ;;
    esac
}

_dormouse() {
    local word=${COMP_WORDS[COMP_CWORD]} command=run option='' place=0 values='' at=1 one
    local -a given=()
    COMPREPLY=()
    case ${COMP_WORDS[1]} in
        -*) ;;
        *) [ "$COMP_CWORD" -eq 1 ] || command=${COMP_WORDS[1]} at=2 ;;
    esac
    # What stands before the cursor: an option that waits for its value, or so many words.
    while [ "$at" -lt "$COMP_CWORD" ]; do
        one=${COMP_WORDS[at]}
        at=$((at + 1))
        case $option,$one in
            [!,]*,=) ;; # --option=value comes in three pieces
            [!,]*,*) given+=("$option" "$one") option='' ;;
            ,-?*) [ -z "$(_dormouse_values "$command" "$one")" ] || option=$one ;;
            *) place=$((place + 1)) ;;
        esac
        [ "$command,$place" != activate,1 ] || break # what follows the program belongs to it
    done
    [ -z "$option" ] || [ "$word" != = ] || word=''
    case $option,$command,$place,$word in
        [!,]*) values=$(_dormouse_values "$command" "$option") ;;
        ,activate,1,*) values=FILE ;;
        ,*,-*) values=$(_dormouse_options "$command") ;;
        ,run,0,*) [ "$COMP_CWORD" -gt 1 ] || values=$(_dormouse_commands) ;;
        ,help,0,*) values=$(_dormouse_commands) ;;
        ,activate,0,*) mapfile -t COMPREPLY < <(compgen -c -- "$word") ;;
        ,convert,*) values=FILE ;;
        ,explain,0,* | ,watch,0,* | ,history,0,*) values=$(_dormouse_services "$command" "${given[@]}") ;;
        ,status,* | ,start,* | ,stop,* | ,restart,* | ,pause,* | ,resume,*)
            values=$(_dormouse_services "$command" "${given[@]}")
            ;;
    esac
    case $values in
        '' | NONE) ;;
        FILE*)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -W "${values#FILE}" -- "$word")
            ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word") ;;
    esac
}

complete -F _dormouse dormouse
