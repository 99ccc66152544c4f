#!/bin/sh
# Stands in for `s2s`: the same commands and files, without training. Each `--set key=value` becomes a
# line of the configuration. The file `fake.started`, next to the run folders, lists the commands. The
# file `fake.env` there may set patterns of run names: training fails (FAKE_FAIL), finds the run in use (FAKE_BUSY) or is killed
# (FAKE_DIE), waits for a signal (FAKE_SLOW), gets a low loss (FAKE_LOSS), or the evaluation by length is interrupted after the first of two lengths
# (FAKE_DIE_EVAL).
set -eu
command=$1
shift
dir= config=
while [ $# -gt 0 ]; do
    case $1 in
        --set)
            value=${2#*=}
            case $2 in train.max_steps=*) ;; *) value="\"$value\"" ;; esac
            config="$config${2%%=*} = $value
"
            shift ;;
        --run-dir) dir=$2; shift ;;
        --config) [ -f "$2" ] || { echo "no file $2" >&2; exit 2; }; shift ;;
        --threads | --mode) shift ;;
        --resume-or-start | --keep-schedule) ;;
        --lengths) lengths=$2; shift ;;
        --samples) samples=$2; shift ;;
        --name) name=$2; shift ;;
        *) dir=$1 ;;
    esac
    shift
done

if [ "$command" = config ]; then
    case $config in *bad*) echo "unknown key \"bad\"" >&2; exit 2 ;; esac
    printf %s "$config"
    exit
fi

[ ! -f "${dir%/*}/fake.env" ] || . "${dir%/*}/fake.env"
run=${dir##*/}
run=${run%-*} # without the hash
if [ "$command" = resume ]; then
    steps=$(echo $config | sed 's/.*= //')
    run="$run $steps"
    sed -i "s/^train.max_steps = .*/train.max_steps = $steps/" "$dir/config.resolved.toml"
    echo "$command $run" >>"${dir%/*}/fake.started"
    exit
fi
echo "$command $run" >>"${dir%/*}/fake.started"
case $run in ${FAKE_BUSY:-never}) exit 5 ;; ${FAKE_FAIL:-never}) echo "error: cannot" >&2; echo "  try: again" >&2; exit 1 ;; esac
case $run in ${FAKE_SLOW:-never}) trap 'echo "error: interrupted" >&2; exit 143' TERM; while :; do sleep 0.05; done ;; esac

# The row of length $1, at which $2 of 10 sequences are correct.
length() {
    echo "{\"mode\": \"eos\", \"length\": $1, \"n_sequences\": 10, \"n_tokens\": 50, \"exact_match\": 0.$2, \
\"exact_match_low\": 0.0, \"exact_match_high\": 1.0, \"token_accuracy\": 0.$2, \"token_accuracy_low\": 0.0, \
\"token_accuracy_high\": 1.0, \"fine_accuracy\": 0.$2, \"fine_accuracy_low\": 0.0, \"fine_accuracy_high\": 1.0, \
\"n_exact\": $2, \"n_stopped_early\": 0, \"n_ran_over\": 0, \"n_wrong_token\": 0, \"n_steps\": 0, \
\"alignment_mass\": null, \"alignment_accuracy\": null, \"attention_entropy\": null, \"normalized_entropy\": null}"
}
if [ "$command" = eval ]; then
    is_complete=true rows="$(length 8 9), $(length 16 ${run##*seed})"
    case $run in ${FAKE_DIE_EVAL:-never}) is_complete=false rows=$(length 8 9) ;; esac
    echo "{\"request\": {\"protocol\": null, \"lengths\": \"$lengths\", \"samples\": $samples, \"modes\": [\"eos\"], \
\"split\": \"test\", \"checkpoint\": \"best\"}, \"step\": 2, \"min_trained\": 1, \"max_trained\": 4, \"deviations\": [], \
\"is_complete\": $is_complete, \"means\": [], \"without_samples\": [], \"rows\": [$rows]}" >"$dir/lengths-$name.json"
    [ $is_complete = true ] || exit 130
    exit
fi
mkdir -p "$dir/plots" "$dir/checkpoints/last" "$dir/checkpoints/best"
: >"$dir/checkpoints/best/params"
printf %s "$config" >"$dir/config.resolved.toml"
case $run in ${FAKE_DIE:-never}) exit 137 ;; esac

seed=${run##*seed}
share=0.9$seed loss=0.5
case $run in ${FAKE_LOSS:-never}) loss=0.1 ;; esac
: >"$dir/metrics.jsonl"
: >"$dir/timing.jsonl"
for step in 1 2; do
    echo "{\"step\": $step, \"epoch\": $step.0, \"train_loss\": 1.0, \"train_token_accuracy\": 0.5, \
\"train_exact_match\": 0.5, \"val_loss\": $loss, \"val_forced_loss\": 0.1, \"exposure_gap\": 0.0, \
\"val_token_accuracy\": 0.5, \"val_exact_match\": 0.5, \"learning_rate\": 0.001, \"grad_norm\": 1.0, \
\"teacher_forcing_ratio\": 0.5, \"is_best\": true}" >>"$dir/metrics.jsonl"
    echo "{\"step\": $step, \"elapsed_secs\": $step.0, \"train_secs\": 1.0, \"eval_secs\": 0.5, \
\"tokens_per_second\": 10.0}" >>"$dir/timing.jsonl"
done
echo "{\"status\": \"finished\", \"step\": 2, \"best_step\": 2, \"best_val_loss\": 0.2, \
\"n_parameters\": 7, \"elapsed_secs\": 3.0, \"test\": {\"split\": \"test\", \"step\": 2, \
\"n_sequences\": 100, \"n_tokens\": 500, \"loss\": 0.2, \"forced_loss\": 0.2, \
\"token_accuracy\": $share, \"exact_match\": $share}}" >"$dir/run.json"
