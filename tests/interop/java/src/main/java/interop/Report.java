package interop;

/** One line per behaviour, as the runner reads them. */
final class Report {
    static final long SECONDS = 30;

    interface Check {
        void run() throws Exception;
    }

    private Report() {}

    static void check(String name, Check check) {
        try {
            check.run();
            say("ok " + name);
        } catch (Throwable failure) {
            say("FAIL " + name + " " + String.valueOf(failure).replace('\n', ' '));
        }
    }

    static void that(boolean holds, Object otherwise) {
        if (!holds) {
            throw new IllegalStateException(String.valueOf(otherwise));
        }
    }

    static void equal(Object got, Object wanted) {
        that(wanted.equals(got), "got " + got + ", not " + wanted);
    }

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
