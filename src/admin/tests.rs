use super::*;
use crate::cluster::testing::alone;
use crate::testing::TestResult;
use archiver::job::JobKind;
use serde_json::Value;

async fn ask(
    admin: &Admin,
    method: Method,
    path: &str,
    body: &str,
) -> Result<(u16, Value), serde_json::Error> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let response = admin.answer(&method, path, query, body.as_bytes()).await;
    let status = response.status().as_u16();
    let Body::Whole(Some(bytes)) = response.into_body() else { return Ok((status, Value::Null)) };
    Ok((status, serde_json::from_slice(&bytes)?))
}

fn jobs() -> Jobs {
    let env = engine::Env::real();
    Jobs::new(env.clock, env.random)
}

#[tokio::test]
async fn a_job_is_shown_slowed_and_cancelled() -> TestResult {
    let (_cluster, operator, _) = alone()?;
    let jobs = jobs();
    let admin = Admin::new(operator, jobs.clone());
    let job = jobs.begin(JobKind::Verify, "file:///archive".to_owned());
    job.total_bytes(10);
    let (_, shown) = ask(&admin, Method::GET, "/jobs", "").await?;
    assert_eq!((&shown[0]["kind"], &shown[0]["state"]), (&Value::from("verify"), &Value::from("working")));
    assert_eq!((&shown[0]["id"], &shown[0]["bytesTotal"]), (&job.id().to_string().into(), &Value::from(10)));
    let path = |what: &str| format!("/jobs/{}/{what}", job.id());
    let (status, slowed) = ask(&admin, Method::PUT, &path("rate"), r#"{"bytesPerS":5}"#).await?;
    assert_eq!((status, &slowed["bytesPerSMax"]), (200, &Value::from(5)), "{slowed}");
    let (status, cancelling) = ask(&admin, Method::POST, &path("cancel"), "").await?;
    assert_eq!((status, &cancelling["state"]), (200, &Value::from("cancelling")), "{cancelling}");
    assert!(job.checkpoint().is_err());
    job.conclude(&job.checkpoint(), |()| String::new());
    let (_, shown) = ask(&admin, Method::GET, "/jobs", "").await?;
    assert_eq!(shown[0]["state"], "cancelled", "{shown}");
    assert_eq!(ask(&admin, Method::POST, "/jobs/0000000000000000/cancel", "").await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn a_cluster_is_operated_in_json() -> TestResult {
    let (_cluster, operator, _) = alone()?;
    let admin = Admin::new(operator, jobs());
    let join = r#"{"address":"10.0.0.2:4513","votes":true,"attempt":"00000000000000000000000000000002"}"#;
    let (status, answer) = ask(&admin, Method::POST, "/cluster/join", join).await?;
    assert_eq!((status, &answer["node"]), (200, &Value::from(2)), "{answer}");
    let (status, shown) = ask(&admin, Method::GET, "/cluster", "").await?;
    assert_eq!((status, &shown["nodes"][1]["state"]), (200, &Value::from("joining")), "{shown}");
    assert_eq!(shown["groups"][0]["members"][0]["matchedIndex"], 100, "{shown}");
    let (status, made) = ask(&admin, Method::POST, "/databases", r#"{"name":"shop"}"#).await?;
    assert!(status == 200 && made["token"].is_string(), "{made}");
    let (_, listed) = ask(&admin, Method::GET, "/databases", "").await?;
    assert!(listed[1]["name"] == "shop" && listed[1].get("token").is_none(), "{listed}");
    assert_eq!(ask(&admin, Method::DELETE, "/databases/shop", "").await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn what_is_refused_has_a_status_and_a_sentence() -> TestResult {
    let (cluster, operator, _) = alone()?;
    let admin = Admin::new(operator, jobs());
    for (method, path, body, expected, words) in [
        (Method::GET, "/nowhere", "", 404, "there is nothing at this path"),
        (Method::PUT, "/cluster", "", 405, "this path takes other methods"),
        (Method::POST, "/cluster/join", "{", 400, "the body is not as expected"),
        (Method::POST, "/cluster/join", r#"{"adress":"a:1"}"#, 400, "unknown field"),
        (Method::POST, "/cluster/nodes", r#"{"address":"here"}"#, 400, "expected <host>:<port>"),
        (Method::POST, "/cluster/nodes", r#"{"address":"10.0.0.1:4513"}"#, 409, "is the address of node 1"),
        (Method::POST, "/cluster/nodes/7/promote", "", 404, "there is no node 7"),
        (Method::DELETE, "/cluster/nodes/1", "", 409, "node 1 is the last one that votes"),
        (Method::DELETE, "/cluster/nodes/1?force=maybe", "", 400, "is not understood"),
        (Method::POST, "/cluster/transfer-leader", r#"{"node":2}"#, 409, "node 2 is not in group 0"),
        (Method::PUT, "/cluster/regions", r#"{"primary":"mars"}"#, 404, "no node stands in region mars"),
        (Method::POST, "/databases", r#"{"name":"a b"}"#, 400, "a name has 1 to 64"),
        (Method::DELETE, "/databases/none", "", 404, "there is no database none"),
    ] {
        let (status, answer) = ask(&admin, method.clone(), path, body).await?;
        let text = answer["error"].as_str().unwrap_or_default();
        assert!(status == expected && text.contains(words), "{method} {path}: {status} {answer}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    cluster.state(|state| state.unavailable = true);
    assert_eq!(ask(&admin, Method::POST, "/databases", r#"{"name":"shop"}"#).await?.0, 503);
    Ok(())
}
