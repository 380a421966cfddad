// The camera: one frame after the other is answered until it is closed.

import { add, count, describe, element, find, settle } from "./answers.js";

const STEADY = 10; // frames that must agree before the camera's answer is read aloud

const REFUSALS = {
  NotAllowedError: "The camera may not be used: permission was not given. Allow it in the browser’s settings for this page, or choose an image.",
  NotFoundError: "No camera was found. Choose an image instead.",
  NotReadableError: "The camera is in use by another program, or it failed. Close that program and try again.",
};

const video = find("#camera video");
let stream = null;
let keeping = false; // whether the next frame gets an answer of its own
let kept = 0;

/**
 * Makes the camera's buttons work.
 *
 * @param {Promise<Classifier>} ready
 * @param {(sentence: string, bad?: boolean) => void} say shows a message.
 * @param {(sentence: string) => void} tell has a sentence read aloud.
 */
export function enableCamera(ready, say, tell) {
  find("#open-camera").addEventListener("click", open);
  find("#close-camera").addEventListener("click", () => close());
  find("#keep").addEventListener("click", () => (keeping = true));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && stream) close("The camera was switched off while the page was hidden.");
  });

  async function open() {
    const opener = find("#open-camera");
    if (!navigator.mediaDevices) return say("The camera works on an https address only.", true);
    opener.disabled = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: { ideal: "environment" }, width: { ideal: 640 } }, // the camera at the back of a phone
      });
    } catch (error) {
      opener.disabled = false;
      opener.focus(); // a disabled button loses it
      return say(REFUSALS[error.name] ?? `The camera could not be opened (${error.name}).`, true);
    }
    stream.getVideoTracks()[0].addEventListener("ended", () => close("The camera was disconnected."));
    find("#camera .answer").replaceChildren(element("h3", "Looking…"));
    find("#camera").hidden = false;
    video.srcObject = stream;
    await video.play().catch(() => {}); // closed again before the first frame
    find("#close-camera").focus();
    find("#camera").scrollIntoView({ block: "nearest" });
    return watch(stream);
  }

  function close(reason = "The camera is off.") {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = video.srcObject = null;
    find("#camera").hidden = true;
    find("#open-camera").disabled = false;
    find("#open-camera").focus();
    say(reason);
  }

  async function watch(opened) {
    const classifier = await ready.catch(() => close("The camera is off, since the model could not be started."));
    const into = find("#camera .answer");
    let [last, same, rate, before] = ["", 0, 0, performance.now()];
    while (classifier && stream === opened) {
      await nextFrame();
      if (stream !== opened) return;
      const keep = keeping;
      keeping = false;
      const answer = await classifier.classify(await createImageBitmap(video), keep);
      const now = performance.now();
      rate += (1000 / (now - before) - rate) / (rate ? 10 : 1);
      before = now;
      const sentence = describe(into, { ...answer, name: `${rate.toFixed(0)} answers per second` });
      if (keep) {
        const [record] = add([`Camera ${++kept}`]);
        settle(record, { answer, source: answer.thumbnail });
        count();
        tell(sentence.replace(/^.*?: /, `Kept as ${record.name}: `));
      }
      same = into.dataset.label === last ? same + 1 : 0;
      last = into.dataset.label;
      if (same === STEADY) tell(sentence.replace(/^.*?: /, "Camera: "));
    }
  }
}

function nextFrame() {
  return new Promise((resolve) => {
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(resolve);
    else requestAnimationFrame(resolve);
  });
}
