// Runs where nothing else does, and so in the JavaScript of 2009: an old browser, or a file that did not come,
// gets a sentence in place of a page that waits for ever.
(function () {
  function say(sentence) {
    document.getElementById("state").textContent = sentence;
  }
  var old = " A version from 2023 or later of Chrome, Edge, Firefox or Safari will do.";
  if ("noModule" in document.createElement("script")) {
    say("Loading the model…");
    document.getElementById("input").hidden = false;
  } else {
    say("This browser is too old for this page." + old);
  }
  window.addEventListener(
    "error",
    function () {
      if (!document.documentElement.hasAttribute("data-started")) {
        say("The page could not be started: a file is missing, or the browser is too old." + old + " Load the page again.");
      }
    },
    true
  );
})();
